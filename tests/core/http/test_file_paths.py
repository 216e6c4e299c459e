from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.file_paths import MOST_NAME, MOST_PATH, file_name, file_names, relative_names
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("path", "skipped", "names"),
    [
        ("/", 0, ([], True)),
        ("/a", 0, (["a"], False)),
        ("/a/", 0, (["a"], True)),
        ("/static/css/a.css", 1, (["css", "a.css"], False)),
        ("/static", 1, ([], False)),
        ("/static/", 1, ([], True)),
        ("/a-b/c_d.e~f/0", 0, (["a-b", "c_d.e~f", "0"], False)),
        ("/static/a/b", 1, (["a", "b"], False)),
        ("/a%20b/%C3%A4.txt", 0, (["a b", "ä.txt"], False)),
        ("/\xc3\xa4", 0, (["ä"], False)),
        ("/a%25b", 0, (["a%b"], False)),
        ("/a;b=c", 0, (["a;b=c"], False)),
        ("/a:b~c+d", 0, (["a:b~c+d"], False)),
        ("/.well-known/x", 0, ([".well-known", "x"], False)),
        ("/...", 0, None),
        ("/" + "a" * MOST_NAME, 0, (["a" * MOST_NAME], False)),
    ],
)
def test_a_path_names_a_file(path: str, skipped: int, names: tuple[list[str], bool] | None) -> None:
    assert file_names(path, skipped, {".well-known"}) == names


@pytest.mark.parametrize(
    "path",
    [
        "*",
        "",
        "a",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/../etc/passwd",
        "/a/../b",
        "/a/..",
        "/a/./b",
        "/%2e",
        "/%2e%2e/etc/passwd",
        "/.%2e/etc/passwd",
        "/..%2fetc/passwd",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/..\\..\\etc\\passwd",
        "/a%00",
        "/a%00.txt",
        "/a%0a",
        "/a%7f",
        "/%c0%ae%c0%ae/etc/passwd",  # overlong
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/\xff",
        "/%",
        "/%2",
        "/%zz",
        "/%u002e%u002e/",
        "/.git/config",
        "/.env",
        "/a/.htpasswd",
        "/%2egit/config",
        "/.well-known-not",
        "/" + "a" * (MOST_NAME + 1),
        "/a" * (MOST_PATH // 2 + 1),
        "/" + "%61" * (MOST_PATH + 1),
    ],
)
def test_a_path_that_could_lead_elsewhere_names_nothing(path: str) -> None:
    assert file_names(path, 0, {".well-known"}) is None


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.integers(0, 2))
def test_every_name_is_one_step_down(path: str, skipped: int) -> None:
    found = file_names("/" + path, skipped, ())
    if found is not None:
        for name in found[0]:
            assert name.strip()[:1] != "."
            assert not {"/", "\\", "\0"} & set(name)
            assert 0 < len(name.encode()) <= MOST_NAME


def test_a_name_may_begin_with_a_dot_where_it_is_allowed() -> None:
    assert file_name(b".well-known") is None
    assert file_name(b".well-known", {".well-known"}) == ".well-known"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("index.html", ["index.html"]),
        ("a/b c/%41", ["a", "b c", "%41"]),
        ("", None),
        ("/a", None),
        ("a/", None),
        ("../a", None),
        ("a/../b", None),
        ("a\\b", None),
        (".env", None),
        ("\udcff", None),
        ("a/" * MOST_PATH + "a", None),
    ],
)
def test_a_relative_path_is_not_decoded(path: str, names: list[str] | None) -> None:
    assert relative_names(path) == names


test_any_path_names_files_or_nothing = property_test("file_path")
