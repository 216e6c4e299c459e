"""Names of secrets, and targets and URLs without their values."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.redaction import is_secret, is_secret_field, masked_parameters, masked_target, masked_url
from tests.support.changes import property_test

SECRETS = [
    "token", "access_token", "id_token", "refresh-token", "csrf_token", "hub.verify_token", "xsrf", "X-CSRF-Token",
    "sig", "signature", "X-Amz-Signature", "X-Goog-Signature", "Signature-Input", "hmac", "X-Hub-Signature-256",
    "X-Amz-Credential", "X-Goog-Credential", "X-Amz-Security-Token", "credentials", "code", "authCode", "oobCode",
    "reset_code", "device_code", "code_verifier", "key", "api_key", "apikey", "api-key", "apiKey", "X-API-Key",
    "access_key", "AWSAccessKeyId", "private_key", "Shared-Key", "subscription-key", "Ocp-Apim-Subscription-Key",
    "x-functions-key", "sharedkey", "pwd", "passwd", "password", "Passwd", "passphrase", "pass", "user[password]",
    "db_pass", "new_password_2", "PASSWORD", "session", "Session", "session_id", "sessionid", "sid", "connect.sid",
    "JSESSIONID", "PHPSESSID", "ASP.NET_SessionId", "sess", "sessionKey", "auth", "oauth_verifier", "Authorization",
    "Proxy-Authorization", "authToken", "X-Auth", "authentication", "Cookie", "Set-Cookie", "secret",
    "client_secret", "jwt", "otp", "pin", "SAMLResponse", "assertion", "client_assertion", "bearer", "ticket",
    "pw", "pw2", "userpw", "cvv", "cvv2", "cvc", "skey", "resetkey", "userotp", "otp_2", "cardpin", "newpass",
    "psk", "pincode", "to.ken", "to-ken", "to ken", "tok%00en", "tok%0aen", "t.o.k.e.n", "s.i.d", "p%2Ew",
    "to,ken", "to|ken", "to:ken", "to%7Fken", "to%2500ken", "%2574oken", "%252574oken", "to$ken", "[token]", "{token}",
    "X-Forwarded-Access-Token", "t%6fken", "T%4FKEN", "t%256fken", "%74oken", "pass+word%5Btoken%5D",
    "user_code", "my-app-code",
]  # fmt: skip
PLAIN = [
    "keyboard", "hotkey", "bypass", "sort.by.monkey", "design.id", "spinner", "opinion",
    "", "q", "page", "x", "design", "signal", "assigned", "author", "authors", "authored_by", "authority", "keyword",
    "monkey", "turkey", "keys", "inside", "sidebar", "passenger", "compass", "spin", "pinned", "footprint", "laptop",
    "zip_code", "country-code", "errorCode", "postal_code", "barcode", "encode", "unicode", "decoder", "codec", "lang",
    "sort", "X-Other", "X-Frame-Options", "Strict-Transport-Security", "Accept", "User-Agent", "possession_of",
    "areaCode", "bar_code", "cityCode", "color-code", "currencyCode", "exit_code", "httpCode", "iso_code", "langCode",
    "language-code", "postCode", "productCode", "qr_code", "region-code", "responseCode", "sort_code", "sourceCode",
    "state_code", "status-code", "billing_zip_code",
]  # fmt: skip
#: Names whose last word is one of a secret only where a hump begins it.
HUMPS = ["gatePin", "requestSig", "mySession", "clientAssertion", "parkingTicket"]
#: Header fields by what they are for: formats (RFC 9110 §8, §12), caching (RFC 9111), routing, and display in browsers.
PLAIN_FIELDS = [
    "Accept", "Accept-Encoding", "Accept-Language", "Content-Encoding", "Content-Language", "Content-Length",
    "Content-Type", "Vary", "Age", "Cache-Control", "Expires", "Last-Modified", "Pragma", "Connection", "Host", "TE",
    "Upgrade", "Via", "Max-Forwards", "Forwarded", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme",
    "X-Forwarded-Server", "X-Forwarded-Ssl", "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods", "Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network",
    "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Access-Control-Request-Headers",
    "Access-Control-Request-Method", "Content-Security-Policy", "Strict-Transport-Security", "X-Frame-Options",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets_in_any_spelling(name: str) -> None:
    assert is_secret(name)
    assert is_secret(name.swapcase() if name.isascii() and name.islower() else name.lower())
    assert masked_target(f"/a?b=1&{name}=5ecret&c=2") == f"/a?b=1&{name}=***&c=2"


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_what_is_none(name: str) -> None:
    assert not is_secret(name)
    target = f"/a?b=1&{name}=shown;c=2#d"
    assert masked_target(target) == target


@pytest.mark.parametrize("name", HUMPS)
def test_a_hump_begins_a_word(name: str) -> None:
    assert is_secret(name)
    assert not is_secret(name.lower())


CREDENTIALS = ["Basic dTpw", "bearer x", "Digest a=b", "AWS4-HMAC-SHA256 C", "SharedKey a:b", "NTLM x", "ApiKey x"]


@pytest.mark.parametrize("value", [*CREDENTIALS, "a=1,token=x", "a?sig=1", "http://u:p@h"])
@pytest.mark.parametrize("name", ["User-Agent", "accept", "X-Forwarded-Host"])
def test_secrets_in_harmless_fields(name: str, value: str) -> None:
    assert is_secret_field(name, value)
    assert not is_secret_field(name, "basically, q=1")


@pytest.mark.parametrize("name", PLAIN_FIELDS)
def test_fields_of_formats_caching_routing_and_display_are_shown(name: str) -> None:
    assert not is_secret_field(name, "shown")
    assert not is_secret_field(f" {name.upper()} ", "shown")


@pytest.mark.parametrize(
    "name", ["X-Auth", "X-My-Thing", "X-Forwarded-User", "X-Forwarded-Access-Token", "Accept-It", "", "Referer"]
)
def test_any_other_field_may_hold_a_secret(name: str) -> None:
    assert is_secret_field(name, "shown")


@pytest.mark.parametrize("blank", ["%20", "+", "%2520", "%252520", "%09", "%2B", " ", "%20%20", "%0a"])
@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a?b=1&c={}&d=2", "/a?b=1&c=***&d=2"),
        ("/a?{}&d=2", "/a?***&d=2"),
        ("/a?b=1,{}", "/a?b=***"),
        ("/a?b=%22{}%22", "/a?b=***"),
        ("/a/{}/b", "/a/***/b"),
        ("/a;{}/b", "/a;***/b"),
        ("/a#{}", "/a#***"),
    ],
)
def test_credentials_anywhere_in_a_target(blank: str, credentials: str, target: str, shown: str) -> None:
    assert masked_target(target.format(credentials.replace(" ", blank))) == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a?token=5ecret;5ecret&x=1", "/a?token=***;***&x=1"),  # for who does not part at a semicolon
        ("/a?token=5ecret?5ecret", "/a?token=***?***"),
        ("/a?token=5ecret;5ecret;5ecret&x=1", "/a?token=***;***;***&x=1"),
        ("/a?a=1,token=5ecret;5ecret", "/a?a=1,token=***;***"),
        ("/a?q=token:5ecret;5ecret", "/a?q=token:***;***"),
        ("/a?q=Bearer%205ecret;5ecret", "/a?q=***;***"),
        ("/a?Bearer%205ecret=1;5ecret", "/a?***;***"),
        ("/Bearer%205ecret;5ecret/b", "/***;***/b"),
        ("/a?at=12:30;shown", "/a?at=12:30;shown"),
        ("/a?a=1,token=;5ecret", "/a?a=1,token=;***"),
        ("/a?a=token=5", "/a?a=token=***"),
        ("/a?=token=5ecret", "/a?=token=***"),
        ("/a?token/=5ecret", "/a?token/=***"),
        ("/a?API_KEY=1;Password=2", "/a?API_KEY=***;Password=***"),
        ("/a?token==5ecret", "/a?token=***"),
        ("/a?x=1;sid=5ecret", "/a?x=1;sid=***"),
        ("/a?token=", "/a?token="),
        ("/a?token", "/a?token"),
        ("/token=5ecret?x=token", "/token=***?x=token"),
        ("/a/token=5ecret/b", "/a/token=***/b"),
        ("/a/x=1,token=5ecret/b", "/a/x=1,token=***/b"),
        ("/token=5ecret;5ecret/b", "/token=***;***/b"),
        ("/t%6fken=5ecret/b", "/***/b"),
        ("/token%3D5ecret/b", "/***/b"),
        ("/a=token=5ecret/b", "/a=token=***/b"),
        ("/a?a=1,token=5ecret", "/a?a=1,token=***"),
        ("/a?a=1,token=5ecret,5ecret&b=1", "/a?a=1,token=***&b=1"),
        ("/a?a=1|token=5ecret", "/a?a=1|token=***"),
        ("/a?a=1%7Ctoken=5ecret&b=1", "/a?a=***&b=1"),
        ("/a?a=1%2Ctoken%3D5ecret", "/a?a=***"),
        ("/a?a=token=5ecret", "/a?a=token=***"),
        ("/a?a=b=c=token=5ecret", "/a?a=b=c=token=***"),
        ("/a?a=token%253D5ecret", "/a?a=***"),
        ("/a?a=x/token=5ecret", "/a?a=x/token=***"),
        ("/a?next=/session/list/page=2", "/a?next=/session/list/page=2"),
        ("/a?a%3Dtoken%3D5ecret=x", "/a?***"),
        ("/a?q=token:5ecret&b=1", "/a?q=token:***&b=1"),
        ("/a?q={a:1,pin:1234}", "/a?q={a:1,pin:***"),
        ("/a?h=Authorization%3A%205ecret", "/a?h=***"),
        ("/a?%u0074oken=5ecret", "/a?%u0074oken=***"),
        ("/a?u=//user:5ecret@host/", "/a?u=//***@host/"),
        (
            "/a?at=12:30&u=http://auth:80/x&v=acct:me@example.org",
            "/a?at=12:30&u=http://auth:80/x&v=acct:me@example.org",
        ),
        ("/v1/a:batchGet", "/v1/a:batchGet"),
        ("/a?Bearer%205ecret=1", "/a?***"),
        ("/a?https://user:5ecret@host/", "/a?https://***@host/"),
        ("/a/http://user:5ecret@host/", "/a/http://***@host/"),
        ("/a;jsessionid=5ecret/b;v=1?x", "/a;jsessionid=***/b;v=1?x"),
        ("/a;v=1;token=5ecret", "/a;v=1;token=***"),
        ("/a%3Bjsessionid=5ecret/b", "/***/b"),
        ("/a%3Bjsessionid%3D5ecret", "/***"),
        ("/cb#access_token=5ecret&x=1", "/cb#access_token=***&x=1"),
        ("http://user:5ecret@host/a?x=1", "http://***@host/a?x=1"),
        ("http://5ecret@host:80/", "http://***@host:80/"),
        ("http://user:5e/c@ret@host/", "http://***@host/"),
        ("user:5ecret@host:443", "***@host:443"),
        ("/a?u=https://user:5ecret@host/&x=1", "/a?u=https://***@host/&x=1"),
        ("/a?next=/cb?token=5ecret&x=1", "/a?next=/cb?token=***&x=1"),
        ("/a?next=%2Fcb%3Ftoken%3D5ecret&x=1", "/a?next=***&x=1"),
        ("/a?token%3d5ecret", "/a?token%3d***"),
        ("/a?t%6fken%253D5ecret=x&x=1", "/a?t%6fken%253D***&x=1"),
        ("/a?q={'password':'5ecret'}", "/a?q={'password':***"),
        ("/a?next=%252Fcb%253Fsig%253D5ecret", "/a?next=***"),
        ("/a?u=https%3A%2F%2Fuser%3A5ecret%40host%2F", "/a?u=***"),
        ("/a?u=https%3A%2F%2Fhost%2Fb", "/a?u=https%3A%2F%2Fhost%2Fb"),
        ("/a?q=%7B%22password%22%3A%225ecret%22%7D", "/a?q=***"),
        ('/a?q={"password":"5ecret"}', '/a?q={"password":***'),
        ("/a?next=%2Fcb%3Fpage%3D2&x=caf%C3%A9", "/a?next=%2Fcb%3Fpage%3D2&x=caf%C3%A9"),
        ("/a@b/c@d?mail=me@example.org", "/a@b/c@d?mail=me@example.org"),
        ("*", "*"),
        ("@", "@"),
        ("", ""),
    ],
)
def test_a_target_without_its_secrets(target: str, shown: str) -> None:
    assert masked_target(target) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:80/a?x=1", "http://host:80/a?x=1"),
        ("https://host/@user/a@b", "https://host/@user/a@b"),
        ("http://host/@user", "http://host/@user"),
        ("HTTPS://host/@user", "HTTPS://host/@user"),
        ("https://[::1]:80/@user", "https://[::1]:80/@user"),
        ("http://auth:4180/check", "http://auth:4180/check"),
        ("redis://token:6379?password=5ecret", "redis://token:6379?password=***"),
        ("http://key.example:80/token:5ecret/", "http://key.example:80/token:***/"),
        ("http://user:5ecret@auth:80/", "http://user:***@auth:80/"),
        ("http://token:5ecret/", "http://token:***/"),
        ("http://token:123456/", "http://token:***/"),
        ("redis://5ecret@host", "redis://***@host"),
        ("https://5ecret@host/", "https://***@host/"),
        ("https://user:5ecret@host/", "https://user:***@host/"),
        ("https://user:5ec/ret@host/", "https://user:***@host/"),
        ("https://user:5ec/re@t@host/", "https://user:***@host/"),
        ("redis://user:1234/x@host", "redis://user:***@host"),
        ("https://host/?api_key=5ecret", "https://host/?api_key=***"),
        ("/health?token=5ecret", "/health?token=***"),
        ("no url at all", "no url at all"),
    ],
)
def test_a_url_without_its_secrets(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(
    st.sampled_from(SECRETS),
    st.sets(st.integers(0, 30)),
    st.text(st.characters(codec="ascii", exclude_characters="&#;?"), min_size=1),
)
def test_no_percent_encoding_hides_a_name(name: str, places: set[int], value: str) -> None:
    encoded = "".join(
        f"%{ord(sign):02x}" if place in places and sign != "%" else sign for place, sign in enumerate(name)
    )
    assert masked_target(f"/?{encoded}={value}") == f"/?{encoded}=***"


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_a_masked_target_stays_as_it_is(target: str) -> None:
    once = masked_target(target)
    assert masked_target(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "pwd",
        "?",
        "&",
        ";",
        "=",
        "%",
        "%6f",
        "%25",
        "/",
        "@",
        "://",
        '"',
        '"a":',
        "a=",
        "?token=",
        ";a=%3d",
        "token=",
        "-",
        "aA",
        "+",
        "a=,",
        "Bearer",
        "Bearer+",
        "a:",
        "key:/",
        "//@",
        "aws4-",
        "basic ",
        "a/",
        "%2525",
        "a=|b",
    ],
)
@pytest.mark.parametrize("head", ["/?", "/", "/?a=", "", "/?a%"])
@pytest.mark.sampled(3)
def test_the_time_for_a_target_is_linear_in_its_length(head: str, unit: str) -> None:
    target = head + unit * (65_536 // len(unit))
    began = time.process_time()
    masked_target(target)
    masked_url("http://" + target)
    assert time.process_time() - began < 2
    assert masked_target(head + quote(unit)) is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a=1&token=x", "a=1&token=***"),
        ("http://user:pass@host/", "http://***@host/"),
        ("host:80", "host:80"),
    ],
)
def test_a_part_of_a_message_without_its_secrets(text: str, shown: str) -> None:
    assert masked_parameters(text) == shown


def test_names_are_decoded_three_times() -> None:
    assert is_secret("tok%4%3%35n")
    assert not is_secret("tok%4%3%3%35n")


test_a_secret_behind_any_text_is_masked = property_test("secrets")
