from __future__ import annotations

import pytest

from lbflask.core.http.field_lines import field_pairs
from lbflask.core.http.file_answers import FileAnswer, Representation, asked_of, asks_for_all
from lbflask.core.http.http_dates import date_text
from tests.support.changes import property_test

NOW = 1_800_000_000.0
MODIFIED = 1_700_000_000
SECOND = 1_000_000_000
ALWAYS = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding")]
FILE = Representation(10, MODIFIED * SECOND, NOW, [("Content-Type", "text/plain")], ALWAYS)
ETAG = FILE.validators.etag
VALIDATORS = [("ETag", ETAG), ("Last-Modified", date_text(MODIFIED))]


def of(asked: dict[str, str], method: str = "GET") -> FileAnswer:
    return FILE.answer(method, asked, NOW)


def test_a_request_without_conditions_gets_all_of_the_file() -> None:
    answer = of({"accept-encoding": "gzip"})
    assert answer == FILE.whole()
    assert (answer.status, answer.start, answer.count) == (200, 0, 10)
    assert answer.fields == [
        ("Content-Type", "text/plain"),
        ("Content-Length", "10"),
        *VALIDATORS,
        *ALWAYS,
        ("Accept-Ranges", "bytes"),
        ("X-Content-Type-Options", "nosniff"),
    ]


def test_the_lines_of_all_of_the_file_are_its_fields() -> None:
    assert field_pairs(FILE.lines) == FILE.whole().fields
    assert FILE.lines[1:] == (False, 10)


def test_conditions_and_ranges_ask_for_less() -> None:
    assert asks_for_all({"accept-encoding": "gzip"})
    assert not asks_for_all({"range": "bytes=0-"})


def test_the_whole_file_may_go_with_another_status() -> None:
    answer = FILE.whole(403)
    assert (answer.status, answer.fields, answer.count) == (403, FILE.whole().fields, 10)


def test_a_file_that_the_client_has_is_not_sent_again() -> None:
    assert of({"if-none-match": ETAG}) == FileAnswer(304, [*VALIDATORS, *ALWAYS])
    assert of({"if-none-match": ETAG, "range": "bytes=0-1"}, "HEAD").status == 304


def test_a_precondition_that_fails_is_said() -> None:
    assert of({"if-match": '"x"'}) == FileAnswer(412, [("Content-Length", "0"), *VALIDATORS, *ALWAYS])


def test_a_range_is_a_part_with_its_place() -> None:
    answer = of({"range": "bytes=2-4"})
    assert (answer.status, answer.start, answer.count) == (206, 2, 3)
    fields = dict(answer.fields)
    assert (fields["Content-Range"], fields["Content-Length"], fields["ETag"]) == ("bytes 2-4/10", "3", ETAG)
    assert fields["Content-Type"] == "text/plain"


def test_a_range_that_cannot_be_satisfied_is_refused_with_the_size() -> None:
    answer = of({"range": "bytes=10-"})
    assert (answer.status, answer.count) == (416, 0)
    assert answer.fields[:2] == [("Content-Range", "bytes */10"), ("Content-Length", "0")]


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({"range": "bytes=0-1,3-4"}, "GET"),
        ({"range": "bytes=0-1"}, "HEAD"),
        ({"range": "bytes=0-1", "if-range": '"x"'}, "GET"),
        ({"if-none-match": '"x"'}, "GET"),
    ],
)
def test_a_range_that_does_not_apply_is_all_of_the_file(asked: dict[str, str], method: str) -> None:
    assert of(asked, method) == FILE.whole()


def test_a_range_applies_if_the_validator_is_that_of_the_file() -> None:
    assert of({"range": "bytes=0-1", "if-range": ETAG}).status == 206


def test_each_coding_has_a_tag_of_its_own() -> None:
    tags = {Representation(10, MODIFIED * SECOND, NOW, [], [], coding).validators.etag for coding in ("", "br", "gzip")}
    assert len(tags) == 3


def test_the_tag_goes_by_size_and_time() -> None:
    def tag(size: int, modified_ns: int) -> str:
        return Representation(size, modified_ns, NOW, [], []).validators.etag

    assert len({tag(10, SECOND), tag(11, SECOND), tag(10, SECOND + 1)}) == 3
    assert tag(10, SECOND) == tag(10, SECOND)


def test_a_file_that_was_just_modified_has_a_weak_tag() -> None:
    def tag(seconds_ago: float) -> str:
        return Representation(1, int((NOW - seconds_ago) * 1e9), NOW, [], []).validators.etag

    assert tag(0.5).startswith('W/"')
    assert tag(1).startswith('"')


@pytest.mark.parametrize(("seconds", "stated"), [(NOW + 100, NOW), (-5, 0), (-(10**12), 0), (10**12, NOW)])
def test_a_time_that_cannot_be_is_not_stated(seconds: float, stated: float) -> None:
    found = Representation(1, int(seconds) * SECOND, NOW, [], [])
    assert found.validators.modified == stated
    assert dict(found.whole().fields)["Last-Modified"] == date_text(int(stated))


def test_only_the_fields_that_matter_are_taken_from_a_request() -> None:
    fields = [("Host", "x"), ("IF-NONE-MATCH", '"a"'), ("if-none-match", '"b"'), ("Range", "bytes=0-1"), ("A", "b")]
    assert asked_of(fields) == {"if-none-match": '"a", "b"', "range": "bytes=0-1"}


test_any_fields_have_an_answer = property_test("file_request")
