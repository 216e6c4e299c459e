from __future__ import annotations

import pytest

from lbflask.core.http.static_files import StaticFiles

FILES = StaticFiles(root="/srv/public")
APP = StaticFiles(root="/srv/app", fallback=("index.html",))


def test_the_matched_prefix_is_removed_unless_it_is_kept() -> None:
    assert FILES.names("/static/a.css?v=1", 1) == (["a.css"], False)
    assert StaticFiles(root="/srv", keep_prefix=True).names("/static/a.css", 1) == (["static", "a.css"], False)
    assert FILES.names("/static/..", 1) is None
    assert FILES.names("*", 0) is None


def test_dot_files_are_served_where_they_are_named() -> None:
    assert FILES.names("/.well-known/x", 0) is None
    files = StaticFiles(root="/srv", dot_files=frozenset({".well-known"}))
    assert files.names("/.well-known/x", 0) == ([".well-known", "x"], False)


@pytest.mark.parametrize(
    ("names", "falls"),
    [([], True), (["about"], True), (["users", "john.doe"], True), (["app.js"], False), (["a.js", "b"], True)],
)
def test_the_fallback_is_for_pages_and_not_for_files(names: list[str], falls: bool) -> None:
    assert APP.falls_back(names) is falls
    assert not FILES.falls_back(names)


@pytest.mark.parametrize(
    ("files", "target", "summary"),
    [
        (FILES, "/static/css/a.css?x", "file /srv/public/css/a.css"),
        (FILES, "/static/", "file /srv/public/index.html"),
        (FILES, "/static/%2e%2e/", "404: the path names no file"),
        (APP, "/x/about", "file /srv/app/about, else index.html"),
        (APP, "/x/a.js", "file /srv/app/a.js"),
        (StaticFiles(root="/", index=()), "/x/", "file /"),
        (StaticFiles(root="/srv", index=("a", "b")), "/x/y/", "file /srv/y/a or b"),
    ],
)
def test_explain_names_the_file(files: StaticFiles, target: str, summary: str) -> None:
    assert files.summary(target, 1) == summary
