"""A request, written down."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answers import AnswerCause
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.log_fields import FIELDS, OF_LINES
from lbflask.telemetry.events import AttemptEvent
from lbflask.telemetry.log_formats import (
    JSON,
    MOST_OF_FIELD,
    LoggedFields,
    combined_line,
    format_of,
    json_lines,
    template,
)
from lbflask.telemetry.log_formats import text_line as line
from tests.support.changes import property_test
from tests.telemetry.events import NOON, REFUSED, SERVED, event


def test_a_line_begins_with_the_common_fields() -> None:
    assert line(event(), NOON) == (
        '2023-11-14T22:13:20.250Z 203.0.113.9 "GET /a?b HTTP/1.1" 200 1234 '
        "backend=web-1 upstream=12.3ms total=15.6ms attempts=1 id=abc-1\n"
    )


def test_the_failed_attempts_before_the_one_that_served_are_in_the_line() -> None:
    told = line(event(attempts=[REFUSED, SERVED]), NOON)
    assert " backend=web-1 upstream=12.3ms " in told
    assert told.endswith(" attempts=2 id=abc-1 tried=web-2:connect,web-1:ok\n")


def test_a_request_that_no_backend_served_names_none_as_its_server() -> None:
    told = line(event(status=502, attempts=[REFUSED]), NOON)
    assert " 502 " in told
    assert " backend=- upstream=- " in told
    assert told.endswith(" attempts=1 id=abc-1 tried=web-2:connect\n")


def test_a_request_that_was_refused_at_once_has_no_attempts() -> None:
    assert " backend=- upstream=- total=15.6ms attempts=0 " in line(event(status=400, attempts=[]), NOON)


def test_a_failure_that_is_no_fault_is_shown_as_one() -> None:
    assert line(event(attempts=[AttemptEvent(backend="web-1", seconds=0.1, fault=OSError("?"))]), NOON).endswith(
        " tried=web-1:fault\n"
    )


def test_a_response_that_broke_off_has_its_reason() -> None:
    assert line(event(cut='the "client"\nhung up'), NOON).endswith(r' cut="the \x22client\x22\x0ahung up"' + "\n")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ('/a"b', r"/a\x22b"),
        (r"/a\b", r"/a\x5cb"),
        ("/a\nb\r\t\x00\x1b", r"/a\x0ab\x0d\x09\x00\x1b"),
        ("/\x7f\x80\xe9\xff", r"/\x7f\x80\xe9\xff"),
        ("/%22 ok", "/%22 ok"),
    ],
)
def test_quotes_controls_and_foreign_bytes_of_a_target_are_escaped(target: str, told: str) -> None:
    assert f'"GET {told} HTTP/1.1"' in line(event(target=target), NOON)


@given(st.text(st.characters(max_codepoint=0xFF)), st.text(st.characters(max_codepoint=0xFF), min_size=1))
def test_no_target_and_no_reason_can_break_a_line_or_forge_one(target: str, cut: str) -> None:
    told = line(event(target=target, cut=cut), NOON)
    assert told.isascii()
    assert told[:-1].isprintable()
    found = re.fullmatch(r'\S+ \S+ "GET ([^"]*) HTTP/1\.1" 200 1234 [^"]* id=abc-1 cut="([^"]*)"\n', told)
    assert found
    # Nothing is lost: the escapes give back what came.
    assert [codecs.decode(part, "unicode_escape") for part in found.groups()] == [target, cut]


@given(st.floats(0, 4e9))
def test_the_moment_is_that_of_the_event_to_the_millisecond(now: float) -> None:
    moment = line(event(), now).split()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    late = now - datetime.fromisoformat(moment).timestamp()
    assert -1e-6 < late < 0.001 + 1e-6


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/a?token=abc&x=1", "/a?token=***&x=1"),
        ("/a?x=1&access_token=abc", "/a?x=1&access_token=***"),
        ("/a?X-Amz-Signature=1f&y", "/a?X-Amz-Signature=***&y"),
        ("/a?API_KEY=1;Password=2", "/a?API_KEY=***;Password=***"),
        ("/a?token", "/a?token"),
        ("/token=1?x=token", "/token=***?x=token"),
    ],
)
def test_secrets_by_their_usual_names_are_masked_in_targets(target: str, told: str) -> None:
    assert f'"GET {told} HTTP/1.1"' in line(event(target=target), NOON)


def test_an_answer_of_the_balancers_own_has_its_cause() -> None:
    told = line(event(status=429, attempts=[], cause=AnswerCause.RATE_LIMIT, limit="each", cut="too many"), NOON)
    assert told.endswith(' attempts=0 id=abc-1 cause=rate_limit cut="too many"\n')


# As JSON


def test_json_has_all_fields_of_a_request() -> None:
    failed = {"fault": "connect", "blame": "backend", "reason": "refused"}
    told = event(
        attempts=[REFUSED, replace(SERVED, at=0.0021)],
        received=7,
        route="shop",
        why="turn",
        target="/a?token=x",
        fields=[("Server", "x"), ("content-type", "text/css")],
    )
    assert json.loads(JSON.line(told, NOON)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "id": "abc-1",
        "client": "203.0.113.9",
        "method": "GET",
        "target": "/a?token=***",
        "protocol": "HTTP/1.1",
        "status": 200,
        "sent": 1234,
        "received": 7,
        "seconds": 0.0156,
        "route": "shop",
        "pool": "default",
        "backend": "web-1",
        "why": "retry",
        "upstream": 0.0123,
        "attempts": [
            {"backend": "web-2", "at": 0, "seconds": 0.001, **failed},
            {"backend": "web-1", "at": 0.0021, "seconds": 0.0123},
        ],
        "cause": "backend",
        "type": "text/css",
    }


def test_json_leaves_out_what_is_not_there_but_no_zero() -> None:
    told = json.loads(JSON.line(event(status=502, attempts=[REFUSED], cut="", sent=0), NOON))
    assert told.keys().isdisjoint({"backend", "upstream", "cut", "route", "why"})
    assert told["sent"] == 0


@given(st.text(st.characters(max_codepoint=0xFF)), st.text())
def test_json_is_one_line_for_any_request(target: str, cut: str) -> None:
    told = JSON.line(event(target=target, cut=cut), NOON)
    assert told.isascii()
    assert told.count("\n") == 1
    assert json.loads(told).get("cut", "") == cut


def facts(fields: Fields) -> RequestFacts:
    return RequestFacts(
        "203.0.113.9", "https", "Shop.example:81", "GET", "/a?b", "abc-1", fields, "", "", "", "TLSv1.3", "CN=a"
    )


AGENT = "{header.User-Agent}|{header.Referer}|{header.X-Tag}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("User-agent", 'curl/8 "x"\n'), ("X-TAG", "a"), ("x-tag", "b")], r"curl/8 \x22x\x22\x0a|-|a, b"),
        ([("Referer", "https://u:p@a.example/x?token=hush&b=1")], "-|https://***@a.example/x?token=***&b=1|-"),
        ([("Referer", "/x?token=hush")], "-|/x?token=***|-"),
        ([("X-Tag", "Bearer hush")], "-|-|***"),
        ([("X-Tag", "a" * 5000)], "-|-|" + "a" * MOST_OF_FIELD),
        ([], "-|-|-"),
        (None, "-|-|-"),
    ],
)
def test_a_template_has_the_header_fields_that_it_names_without_secrets(fields: Fields | None, told: str) -> None:
    assert format_of(AGENT).line(event(facts=None if fields is None else facts(fields)), NOON) == told + "\n"


def test_a_template_has_variables_of_requests_and_fields_of_responses() -> None:
    form = "{scheme} {host} {authority} {path} {query} {request_id} {tls.version} {tls.client_subject} {env.ZONE} "
    made = format_of(form + "{response_header.X-Cache}", environ={"ZONE": "eu-1"})
    told = made.line(event(target="/a?token=x", facts=facts([]), fields=[("x-cache", 'HIT "1"')]), NOON)
    assert told == r"https shop.example Shop.example:81 /a ?token=*** abc-1 TLSv1.3 CN=a eu-1 HIT \x221\x22" + "\n"
    unread = made.line(event(target="-", request_id="-"), NOON)
    assert unread == "- - - - - - - - eu-1 -\n"


@pytest.mark.parametrize("name", OF_LINES)
def test_every_name_of_lines_can_be_used(name: str) -> None:
    assert re.fullmatch(r"<[!-~]+>\n", format_of(f"<{{{name}}}>").line(event(facts=facts([])), NOON))


def test_a_wait_for_a_slot_is_in_the_line() -> None:
    assert line(event(queued=0.25), NOON).endswith(" id=abc-1 queued=250.0ms\n")
    assert format_of("{queued}").line(event(queued=0.25), NOON) == "0.250000\n"
    assert format_of("{queued}").line(event(), NOON) == "-\n"


def test_json_has_the_header_fields_that_are_named() -> None:
    form = format_of("json", logged=LoggedFields(("User-Agent", "X-None"), ("X-Cache", "Location")))
    fields = [("X-CACHE", "a"), ("x-cache", "b"), ("Location", "/x?token=hush")]
    told = json.loads(form.line(event(facts=facts([("user-agent", "curl"), ("Cookie", "hush")]), fields=fields), NOON))
    assert told["request_headers"] == {"User-Agent": "curl"}
    assert told["response_headers"] == {"X-Cache": "a, b", "Location": "/x?token=***"}
    unread = json.loads(form.line(event(), NOON))
    assert "request_headers" not in unread
    assert unread["response_headers"] == {}


# In the combined format


def test_the_combined_format_is_that_of_apache() -> None:
    fields = [("Referer", "https://a.example/x?token=hush"), ("user-agent", 'curl/8 "x"\\\n\xe9\x01')]
    assert format_of("combined").line(event(facts=facts(fields), target="/a?token=x"), NOON) == (
        '203.0.113.9 - - [14/Nov/2023:22:13:20 +0000] "GET /a?token=*** HTTP/1.1" 200 1234 '
        '"https://a.example/x?token=***" "curl/8 \\"x\\"\\\\\\n\\xe9\\x01"\n'
    )


def test_the_combined_format_has_the_user() -> None:
    told = combined_line(event(user='a b"c'), NOON)
    assert told.startswith('203.0.113.9 - a\\x20b\\"c [14/Nov/2023:22:13:20 +0000] "GET ')


def test_the_combined_format_has_a_dash_for_what_is_not_there() -> None:
    told = combined_line(event(method="-", target="-", protocol="-", status=400, sent=0), NOON)
    assert told == '203.0.113.9 - - [14/Nov/2023:22:13:20 +0000] "- - -" 400 - "-" "-"\n'


@given(st.text(st.characters(max_codepoint=0xFF)), st.text(st.characters(max_codepoint=0xFF)))
def test_no_request_can_break_or_forge_a_combined_line(target: str, agent: str) -> None:
    told = combined_line(event(target=target, facts=facts([("User-Agent", agent)])), NOON)
    assert told[:-1].isascii()
    assert told[:-1].isprintable()
    quoted = r'"((?:[^"\\]|\\.)*)"'
    assert re.fullmatch(rf'\S+ - - \[[^\]]*\] {quoted} 200 1234 "-" {quoted}\n', told)


def test_missing_lines_are_reported_in_the_format_of_the_log() -> None:
    assert json.loads(JSON.loss(3)) == {"dropped_lines": 3}
    assert template("{id}").loss(3).startswith("# 3 lines were dropped")


def test_json_names_the_instance_the_limit_and_the_cause() -> None:
    limited = event(status=429, attempts=[], cause=AnswerCause.RATE_LIMIT, limit="each")
    told = json.loads(format_of("json", "lb-1").line(limited, NOON))
    assert (told["instance"], told["limit"], told["cause"]) == ("lb-1", "each", "rate_limit")
    assert json.loads(format_of("json", "lb-1").loss(3)) == {"dropped_lines": 3, "instance": "lb-1"}


# In a form of one's own


def test_a_template_has_the_fields_that_it_names() -> None:
    form = format_of("{client} {{{method}}} {target} {backend} {why} {attempts} {tried} {cut}|")
    told = form.line(event(attempts=[REFUSED, SERVED], target='/"'), NOON)
    assert told == r"203.0.113.9 {GET} /\x22 web-1 retry 2 web-2:connect,web-1:ok -|" + "\n"


@pytest.mark.parametrize("name", FIELDS)
def test_every_name_can_be_used(name: str) -> None:
    assert re.fullmatch(r"<[ -~]+>\n", format_of(f"<{{{name}}}>").line(event(), NOON))


def test_json_has_every_name_but_the_attempts_in_short() -> None:
    full = event(
        attempts=[SERVED],
        route="r",
        why="turn",
        cut="c",
        limit="each",
        user="alice",
        fields=[("Content-Type", "text/plain")],
        queued=0.5,
    )
    assert json.loads(json_lines("lb-1").line(full, NOON)).keys() == FIELDS.keys() - {"tried"}


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ("{nobody}", "there is no {nobody}; there are time, id, client"),
        ("{status:d}", "takes no conversion"),
        ("{status!r}", "takes no conversion"),
        ("{status}\n{id}", "a request is one line"),
        ("{status", "'{' is not paired"),
        ("{}", "{} has no name"),
    ],
)
def test_a_format_with_an_error_is_refused(form: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        format_of(form)


test_any_request_is_one_line = property_test("log_line")
test_any_format_is_one_of_lines_or_rejected = property_test("log_format")
