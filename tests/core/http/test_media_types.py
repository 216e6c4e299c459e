from __future__ import annotations

import mimetypes
import re

import pytest

from lbflask.core.http.media_types import MEDIA_TYPES, UNKNOWN, bare_type, end_of, has_known_end, media_type


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("APP.JS", "text/javascript; charset=utf-8"),
        ("a.tar.gz", "application/gzip"),
        ("photo.jpeg", "image/jpeg"),
        ("data.unknown", UNKNOWN),
        ("README", UNKNOWN),
        (".html", UNKNOWN),
        ("a.", UNKNOWN),
    ],
)
def test_a_type_goes_by_the_end_of_the_name(name: str, kind: str) -> None:
    assert media_type(name, {}) == kind


def test_types_of_the_configuration_take_precedence() -> None:
    more = {".html": "text/html; charset=iso-8859-1", ".x": "application/x"}
    assert media_type("a.html", more) == "text/html; charset=iso-8859-1"
    assert media_type("a.x", more) == "application/x"
    assert media_type("a.css", more) == "text/css; charset=utf-8"


@pytest.mark.parametrize(("name", "end"), [("a.B", ".b"), ("a", ""), (".a", ""), ("a.b.c", ".c"), ("", "")])
def test_an_end_begins_with_the_last_dot(name: str, end: str) -> None:
    assert end_of(name) == end


def test_a_name_of_an_application_has_no_known_end() -> None:
    assert has_known_end("app.3f2.js", {})
    assert has_known_end("a.x", {".x": "application/x"})
    assert not has_known_end("john.doe", {})
    assert not has_known_end("v1.2", {})
    assert not has_known_end("about", {})


@pytest.mark.parametrize("value", ["text/html", "Text/HTML ; charset=utf-8", "\ttext/html;"])
def test_a_bare_type_has_no_parameters(value: str) -> None:
    assert bare_type(value) == "text/html"


def test_the_table_is_well_formed() -> None:
    assert list(MEDIA_TYPES) == sorted(MEDIA_TYPES)
    for end, kind in MEDIA_TYPES.items():
        assert re.fullmatch(r"\.[a-z0-9]+", end)
        assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", kind)
        assert kind.endswith("utf-8") is kind.startswith("text/")


@pytest.mark.parametrize("end", [".css", ".gif", ".html", ".jpg", ".json", ".mp4", ".pdf", ".png", ".svg", ".txt"])
def test_common_types_are_those_of_the_standard_library(end: str) -> None:
    assert MEDIA_TYPES[end].partition(";")[0] == mimetypes.types_map[end]
