"""Tokens: the attacks of RFC 8725 on their form, and the claims that they must have."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lbflask.core.web_token import BadToken, TokenRules, claim_fields, web_token
from tests.support.changes import property_test

ALLOWED = ("RS256", "ES256", "HS256", "none")  # the latter two never count
NOW = 1_700_000_000.0


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def token(header: Any, claims: Any = None, signature: str = "c2ln") -> str:
    return f"{encoded(header)}.{encoded({'sub': 'alice'} if claims is None else claims)}.{signature}"


def test_a_token_has_its_parts() -> None:
    text = token({"alg": "RS256", "kid": "k1", "jku": "https://evil.example/keys"})
    found = web_token(text, ALLOWED)
    assert (found.algorithm, found.key_id, found.signature) == ("RS256", "k1", b"sig")
    assert found.signed == text.rpartition(".")[0].encode()
    assert found.claims == {"sub": "alice"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.b", "no signed token"),
        ("a.b.c.d.e", "no signed token"),
        (f"{encoded({'alg': 'RS256'})}..c2ln", "no signed token"),
        ("x" * 8001, "longer than"),
        (token({"alg": "none"}, signature="c2ln"), "algorithm"),
        (token({"alg": "HS256"}), "algorithm"),
        (token({"alg": "ES384"}), "algorithm"),
        (token({"alg": ["RS256"]}), "algorithm"),
        (token({}), "algorithm"),
        (token({"alg": "RS256", "crit": ["exp"]}), "critical"),
        (token({"alg": "RS256", "cty": "JWT"}), "within"),
        (token({"alg": "RS256", "enc": "A128GCM"}), "within"),
        (token({"alg": "RS256", "kid": "k" * 257}), "identifier"),
        (token({"alg": "RS256", "kid": "../../etc\n"}), "identifier"),
        (token({"alg": "RS256", "kid": 7}), "identifier"),
        (token(["RS256"]), "no JSON object"),
        (token(b"not json"), "no JSON"),
        (token(b'{"alg":"RS256","alg":"ES256"}'), "twice"),
        (token({"alg": "RS256"}, b'{"exp":NaN}'), "number"),
        (token({"alg": "RS256"}, b"[" * 5000), "no JSON"),
        (token({"alg": "RS256"}, signature="c2ln="), "encoded"),
        (token({"alg": "RS256"}, signature="c+/n"), "encoded"),
        (token({"alg": "RS256"}, signature="ä"), "encoded"),
        (token({"alg": "RS256"}, signature="a"), "encoded"),
    ],
)
def test_a_malformed_or_forged_token_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        web_token(text, ALLOWED)


RULES = TokenRules(("RS256",), "https://login.example", ("shop", "api"), leeway=10.0)
VALID = {"iss": "https://login.example", "aud": "shop", "exp": NOW + 60}


def test_a_token_ends_with_its_leeway() -> None:
    assert RULES.expiry(VALID, NOW) == NOW + 70
    assert RULES.expiry(VALID | {"aud": ["other", "api"], "nbf": NOW + 5}, NOW) == NOW + 70
    assert TokenRules(("RS256",)).expiry({"exp": NOW + 1}, NOW) == NOW + 31


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "never expires"),
        ({"exp": NOW - 10}, "has expired"),
        ({"exp": True}, "exp is no date"),
        ({"exp": "soon"}, "exp is no date"),
        ({"exp": 10**30}, "exp is no date"),
        ({"exp": -1}, "exp is no date"),
        ({"nbf": NOW + 11}, "not valid yet"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": ["https://login.example"]}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": [{"shop": 1}, ["shop"]]}, "another audience"),
    ],
)
def test_claims_that_do_not_fit_are_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        RULES.expiry(VALID | claims, NOW)


def test_claims_become_fields() -> None:
    claims = {
        "sub": "Zoë",
        "line": "Zoë\r\nX-Admin: 1",
        "cut": "root\0",
        "blank": " root",
        "half": "root\ud800",
        "groups": ["a", "b,admin", 3, ["x"]],
        "realm": {"roles": ["r"]},
        "https://example/x": "y",
        "ok": True,
        "no": False,
        "rate": 0.5,
        "long": "x" * 5000,
    }
    names = {"sub": "U", "groups": "G", "realm.roles": "R", "https://example/x": "X", "ok": "O", "no": "N"}
    names |= {"rate": "F", "long": "L", "none": "E", "sub.x": "D", "realm": "M"}
    names |= {"line": "A", "cut": "B", "blank": "C", "half": "H"}
    found = dict(claim_fields(claims, names))
    assert found.pop("U").encode("latin-1").decode() == "Zoë"
    assert found == {"G": "a,3", "R": "r", "X": "y", "O": "true", "N": "false"}


test_any_text_is_a_token_or_refused = property_test("web_token")
