"""Requests for files: their paths, and their conditions, ranges and codings; and files that backends name."""

from __future__ import annotations

from lbflask.core.http.content_codings import SUFFIXES, accepted_codings
from lbflask.core.http.file_answers import Representation, asked_of
from lbflask.core.http.file_paths import MOST_NAME, MOST_PATH, file_names
from lbflask.core.http.http_dates import date_seconds, date_text
from lbflask.core.http.internal_files import named_file, redirect_places, sendfile_places, with_file_fields
from lbflask.core.http.types import Fields

NOW, MODIFIED = 1_800_000_000.0, 1_700_000_000
FILE = Representation(1000, MODIFIED * 10**9, NOW, [("Content-Type", "a/b")], [("Vary", "Accept-Encoding")])


def _check_names(names: list[str]) -> None:
    """Each is one step down, so that no path of them leads up."""
    for name in names:
        assert name not in ("", ".", "..")
        assert not {"/", "\\", "\0"} & set(name)
        assert len(name.encode()) <= MOST_NAME
    assert len("/".join(names).encode()) <= MOST_PATH


def file_path(text: str) -> None:
    for skipped in (0, 1):
        found = file_names(text, skipped, ())
        if found is not None:
            _check_names(found[0])
            assert not any(name.startswith(".") for name in found[0])
        everything = file_names(text, skipped, None)
        if everything is not None:
            _check_names(everything[0])
        assert found is None or found == everything


def _fields(text: str) -> Fields:
    lines = (line.partition(":") for line in text.splitlines())
    return [(name, value.strip(" \t")) for name, _, value in lines]


def file_request(text: str) -> None:
    asked = asked_of(_fields(text))
    for method in ("GET", "HEAD"):
        answer = FILE.answer(method, asked, NOW)
        assert answer.status in (200, 206, 304, 412, 416)
        assert answer.status == 200 or method == "GET" or answer.status in (304, 412)
        assert 0 <= answer.start <= answer.start + answer.count <= FILE.size
        fields = dict(answer.fields)
        assert fields["ETag"] == FILE.validators.etag
        if answer.status in (200, 206):
            assert fields["Content-Length"] == str(answer.count)
        assert ("Content-Range" in fields) is (answer.status in (206, 416))
    codings = accepted_codings(asked.get("accept-encoding"))
    assert set(codings) <= SUFFIXES.keys()
    assert len(set(codings)) == len(codings)
    for value in asked.values():
        seconds = date_seconds(value, NOW)
        if seconds is not None:
            assert date_seconds(date_text(seconds), NOW) == seconds


def internal_file(text: str) -> None:
    fields = _fields(text)
    named = named_file(fields)
    kept = with_file_fields(fields, FILE.whole().fields)
    assert named_file(kept) is None
    assert [name for name, _ in kept if name.lower() == "content-length"] == ["Content-Length"]
    if named is not None:
        roots = {"/protected/": "/srv/private", "/": "/srv/all"}
        places = redirect_places(named[1], roots) + sendfile_places(named[1], [("/srv/b", "/srv/b")])
        for root, names in places:
            assert root in ("/srv/private", "/srv/all", "/srv/b")
            assert names
            _check_names(names)
