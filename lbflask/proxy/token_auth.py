"""The check of bearer tokens (RFC 6750) that are JSON Web Tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from lbflask.core.answers import AnswerCause
from lbflask.core.expiring_cache import ExpiringCache
from lbflask.core.faults import NotAdmitted
from lbflask.core.http.credentials import bearer_token, challenge, credentials
from lbflask.core.http.granted_fields import GrantedFields
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.core.web_token import BadToken, TokenRules, WebToken, claim_fields, web_token
from lbflask.proxy.admitted_request import AdmittedRequest, AuthGrant
from lbflask.proxy.auth_counts import AuthCounts, AuthOutcome
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.signing_keys import VerifyingKeys

_KIND: Final = "jwt"
#: Verified tokens that a worker remembers.
MAX_CACHED: Final = 10_000


@dataclass(frozen=True, slots=True)
class TokenAuthSettings:
    """`fields` are the names of fields for backends by claims; the value of the first one is the user."""

    rules: TokenRules
    fields: Mapping[str, str]
    keep_token: bool


class KeySource(Protocol):
    """Where keys are from, as SigningKeys has them."""

    def of(self, token: WebToken, /) -> VerifyingKeys | None:
        """The keys that may be those of the token; None while there are none."""
        ...


class TokenAuth:
    """Admits requests with a valid token. Threads and greenlets may share it. `wall_clock` returns seconds since the
    epoch.
    """

    def __init__(
        self, settings: TokenAuthSettings, keys: KeySource, counts: AuthCounts, wall_clock: Callable[[], float]
    ) -> None:
        self._rules = settings.rules
        self._names = settings.fields
        self._keys = keys
        self._counts = counts
        self._wall_clock = wall_clock
        self._grants: ExpiringCache[AuthGrant] = ExpiringCache(MAX_CACHED)
        self._key = secrets.token_bytes(32)
        self.granted = GrantedFields([*settings.fields.values()], () if settings.keep_token else ("authorization",))

    def __repr__(self) -> str:
        return f"TokenAuth({self._keys!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:  # noqa: ARG002
        """As of AdmissionCheck."""
        text = bearer_token(request.fields)
        if not text:
            self._counts.add(_KIND, AuthOutcome.REFUSED)
            if credentials(request.fields, "bearer"):
                raise _refusal("invalid_request", "it is no token", status=400)
            fields = [("WWW-Authenticate", challenge("Bearer", {}))]  # RFC 6750 §3.1: no error without credentials
            raise NotAdmitted(401, "a token is needed", AnswerCause.AUTH, fields)
        key = hashlib.blake2b(text.encode("ascii"), key=self._key, digest_size=32).digest()
        now = self._wall_clock()
        grant = self._grants.find(key, now)
        if grant is None:
            grant = self._verified(text, key, now)
            self._counts.add(_KIND, AuthOutcome.ALLOWED)
        else:
            self._counts.add(_KIND, AuthOutcome.CACHED)
        return AdmittedRequest(request, self.granted.of(request.fields, grant.fields), grant.user)

    def _verified(self, text: str, key: bytes, now: float) -> AuthGrant:
        """What a valid token grants; it is remembered until the token ends. Raises NotAdmitted."""
        try:
            token = web_token(text, self._rules.algorithms)
            until = self._rules.expiry(token.claims, now)
            keys = self._keys.of(token)
            if keys is None:
                self._counts.add(_KIND, AuthOutcome.FAILED)
                reason = f"there are no keys yet: {self._keys!r}"
                shown, retry = "the token cannot be checked now", [("Retry-After", "2")]
                raise NotAdmitted(503, shown, AnswerCause.AUTH_UNAVAILABLE, retry, reason)
            if not keys.verifies(token):
                raise BadToken("its signature is not by a known key")
        except BadToken as bad:
            self._counts.add(_KIND, AuthOutcome.REFUSED)
            raise _refusal("invalid_token", str(bad)) from None
        fields = claim_fields(token.claims, self._names)
        first = next(iter(self._names.values()), "")
        grant = AuthGrant(fields, next((value for name, value in fields if name == first), ""))
        self._grants.put(key, grant, until)
        return grant


def _refusal(error: str, reason: str, status: int = 401) -> NotAdmitted:
    fields = [("WWW-Authenticate", challenge("Bearer", {"error": error, "error_description": reason}))]
    return NotAdmitted(status, f"the token is not accepted: {reason}", AnswerCause.AUTH, fields)
