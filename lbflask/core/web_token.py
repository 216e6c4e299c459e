"""JSON Web Tokens (RFC 7519) as bearers send them: their form, and the claims that a signed one must have (RFC 8725).

The algorithm is never the token's choice: it must be one of the configured ones, which all have a public key, and fit
the key (RFC 8725 §3.1). Nothing in a token names the place of a key.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lbflask.core.http.credentials import exact_field_text
from lbflask.core.http.types import Fields

#: Characters of a token, which are fewer than a header field may have by default, and of the identifier of its key.
MAX_TOKEN: Final = 8000
MAX_KEY_ID: Final = 256
#: Characters of the value of a field that a claim becomes.
MAX_CLAIM: Final = 4096
#: The algorithms with public keys, by the type of these: RFC 7518 §3.1, RFC 8037 §3.1.
ALGORITHMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
#: The latest date that a claim may have, in seconds since the epoch.
_LATEST: Final = 1e12


class BadToken(ValueError):
    """A token is not accepted; the message has the reason, and nothing of the token."""


class WebToken(NamedTuple):
    """A token whose signature is still to be verified: over `signed`."""

    algorithm: str
    key_id: str
    signed: bytes
    signature: bytes
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What tokens must be. No issuer or no audience accepts any. `leeway` is for clocks that differ, in seconds."""

    algorithms: Sequence[str]
    issuer: str = ""
    audience: Sequence[str] = ()
    leeway: float = 30.0

    def expiry(self, claims: Mapping[str, Any], now: float) -> float:
        """When the token ends, in seconds since the epoch. Raises BadToken for claims that are not accepted now."""
        expires, begins = _date(claims, "exp"), _date(claims, "nbf")
        if expires is None:
            raise BadToken("it never expires: exp is missing")
        if expires + self.leeway <= now:
            raise BadToken("it has expired")
        if begins is not None and begins - self.leeway > now:
            raise BadToken("it is not valid yet")
        if self.issuer and claims.get("iss") != self.issuer:
            raise BadToken("it is of another issuer")
        if self.audience:
            given = claims.get("aud")
            audience = given if isinstance(given, list) else [given]
            if not any(one in self.audience for one in audience if isinstance(one, str)):
                raise BadToken("it is for another audience")
        return expires + self.leeway


def web_token(text: str, algorithms: Sequence[str]) -> WebToken:
    """The parts of a token in compact form (RFC 7515 §7.1). Raises BadToken."""
    if len(text) > MAX_TOKEN:
        raise BadToken(f"it is longer than {MAX_TOKEN} characters")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        raise BadToken("it is no signed token")
    header = _object(parts[0])
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise BadToken("its algorithm is not allowed")
    if "crit" in header:
        raise BadToken("it has critical extensions")  # RFC 7515 §4.1.11: none is known here
    if "cty" in header or "enc" in header:
        raise BadToken("it has another token within")
    if not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID or not key_id.isprintable():
        raise BadToken("the identifier of its key is invalid")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii", "replace")
    return WebToken(algorithm, key_id, signed, _decoded(parts[2]), _object(parts[1]))


def claim_fields(claims: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """The fields of claims, by the name of the field for each; `a.b` is the claim `b` within `a`. A list is joined by
    commas, without items that have one. Missing claims, objects and long values make no field, nor do texts that a
    field cannot have as they are: what is left of them may be the name of another user.
    """
    found = []
    for claim, field in names.items():
        value: Any = claims.get(claim)
        if value is None:
            value = claims
            for part in claim.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if text := _claim_text(value):
            found.append((field, text))
    return found


def _claim_text(value: Any) -> str:
    if isinstance(value, list):
        items = [_claim_text(item) for item in value if not isinstance(item, list)]
        text = ",".join(item for item in items if item and "," not in item)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (str, int)):
        text = exact_field_text(str(value))
    else:
        text = ""
    return text if len(text) <= MAX_CLAIM else ""


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2); None without one. Raises BadToken."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise BadToken(f"{name} is no date")
    return float(value)


def _decoded(text: str) -> bytes:
    """Base64url without padding (RFC 7515 §2). Raises BadToken."""
    try:
        if "=" in text or "+" in text or "/" in text:
            raise ValueError("of another alphabet")
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadToken("it is not encoded as a token") from None


def _object(text: str) -> dict[str, Any]:
    """A JSON object without repeated names. Raises BadToken."""
    try:
        found = json.loads(_decoded(text), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except BadToken:
        raise
    except (ValueError, RecursionError):
        raise BadToken("it holds no JSON") from None
    if not isinstance(found, dict):
        raise BadToken("it holds no JSON object")
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadToken("it has a name twice")  # readers differ in which one counts (RFC 8259 §4)
    return found


def _no_number(text: str) -> float:  # noqa: ARG001
    raise BadToken("it has a number that JSON does not have")
