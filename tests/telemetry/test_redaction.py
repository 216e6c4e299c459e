"""Messages of the error log without what they quote of secrets."""

from __future__ import annotations

import time

import pytest

from lbflask.telemetry.redaction import conceal, masked_message
from tests.support.changes import property_test


@pytest.mark.parametrize(
    "field",
    ["Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "Signature", "Shared-Key", "Passwd", "Session",
     "X-Api-Key", "X-Auth-Token", "X-CSRF-Token", "Ocp-Apim-Subscription-Key", "X-Amz-Security-Token", "Password"],
)  # fmt: skip
@pytest.mark.parametrize(
    "quoted",
    ["{}: 5ecret", "'{}: 5ecret'", "b'{}: 5ecret'", "x ({}: 5ecret)", "{}:5ecret", "{}: a\r\n 5ecret",
     "{}: a\r\n\t5ecret", "{}: a\n 5ecret", "{}: a\n\t5ecret", "b'{}: a\\r\\n 5ecret'", "{{'{}': '5ecret'}}",
     "[('{}', '5ecret')]", '{{"{}": "5ecret"}}', "x\n{}: 5ecret\ny"],
)  # fmt: skip
def test_fields_are_masked_with_the_lines_that_continue_them(field: str, quoted: str) -> None:
    for name in (field, field.lower(), field.upper()):
        shown = masked_message("invalid: " + quoted.format(name))
        assert "5ecret" not in shown
        assert "***" in shown
        assert "invalid" in shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("GET /a?token=5ecret failed", "GET /a?token=*** failed"),
        ("GET '/a?sig=5ecret&x=1'", "GET '/a?sig=***&x=1'"),
        ("url: /v1/traces?api_key=5ecret (Caused by x)", "url: /v1/traces?api_key=*** (Caused by x)"),
        ("with X-Up Bearer 5ecret and more", "with X-Up Bearer ***"),
        ("failed (a=1,token=5ecret) for /token=5ecret/x", "failed (a=1,token=*** for /token=***/x"),
        ("to http://user:5ecret@host:1/a?b=c", "to http://***@host:1/a?b=c"),
        ("lbflask.toml:3: admin.token_file: '/x' cannot be read", None),
        ("lbflask.toml:3: tls.key: '/x' is not the key of the certificate '/y'", None),
        ("LBFLASK_ADMIN__TOKENS: admin.tokens[0] = ***: a token must be", None),
        ("KeyError: 'x'", None),
        ("tokenize.TokenError: ('EOF', (1, 0))", None),
        ("refused a token that is none, from 1.2.3.4", None),
        ("alice (1.2.3.4): drain 10.0.0.1:80 of pool default", None),
        ("", None),
    ],
)
def test_messages_keep_what_is_no_secret(message: str, shown: str | None) -> None:
    assert masked_message(message) == (message if shown is None else shown)


def test_the_frames_of_a_traceback_stay() -> None:
    text = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    raise X\nX: Cookie: 5ecret\n'
    assert masked_message(text) == text.replace(" 5ecret", " ***").replace("Cookie:", "Cookie")


@pytest.mark.parametrize(
    ("url", "shown", "message"),
    [
        ("https://c/x/5ecret/v1", "https://c/x/***/v1", "with url: /x/5ecret/v1 (Caused by x)"),
        ("https://c:1/5ecret?x=5ecret", "https://c:1/***?x=***", "to https://c:1/5ecret?x=5ecret: x"),
        ("https://c?x=5ecret#y", "https://c?x=***#***", "url: /?x=5ecret (x)"),
        ("https://c/{5ecret}", "https://c/***", "url: /%7B5ecret%7D (x)"),
    ],
)
def test_targets_of_services_are_masked_as_their_settings_are(
    url: str, shown: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbflask.telemetry.redaction._targets", {})
    conceal(url, shown)
    assert "5ecret" not in masked_message(message)
    assert "***" in masked_message(message)
    conceal("https://c/v1", "https://c/v1")
    assert masked_message("url: /v1 x") == "url: /v1 x"


@pytest.mark.parametrize(
    "unit", ["\r\n ", "Cookie", "key: ", "'a':", "?a=", "://", "@", " a:", "\n", "a" * 63 + " ", "%3d"]
)
def test_the_time_for_a_message_is_linear_in_its_length(unit: str) -> None:
    began = time.process_time()
    masked_message(unit * (65_536 // len(unit)))
    assert time.process_time() - began < 2


test_a_secret_behind_any_text_is_masked = property_test("secrets")
