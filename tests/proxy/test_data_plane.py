from __future__ import annotations

import pytest

from lbflask.proxy.data_plane import CHALLENGES, ControlPaths

PATHS = ControlPaths({"/health": "/health", "/-/live": "/live", "": "/unused"}, ["/health"])


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/health", "/health"),
        ("/health?full", "/health"),
        ("/-/live", "/live"),
        ("http://shop.example/health", "/health"),
        ("HTTPS://shop.example:443/-/live?a=b", "/live"),
        ("/healthy", None),
        ("/health/", None),
        ("/health#part", None),
        ("//shop.example/health", None),
        ("http://shop.example/other", None),
        ("http://shop.example", None),
        ("http://ann@shop.example/health", None),
        ("http:///health", None),
        ("shop.example:443", None),
        ("*", None),
        ("", None),
    ],
)
def test_a_path_of_the_balancer_is_found_in_each_form_of_a_target(target: str, path: str | None) -> None:
    assert PATHS.find(target) == path
    assert PATHS.is_contested(target) == (path == "/health")


@pytest.mark.parametrize("base", ["", "http://shop.example"])
def test_challenges_are_found_by_their_token(base: str) -> None:
    paths = PATHS.with_challenges({"known": "text"}.get, "/challenges/")
    assert paths.find(f"{base}{CHALLENGES}known") == "/challenges/known"
    assert paths.find(f"{base}{CHALLENGES}unknown") is None
