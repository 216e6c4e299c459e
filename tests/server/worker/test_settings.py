"""gunicorn's settings as the request path has them."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.config import Config

from devtools.parsers import PARSERS
from lbflask.server.worker.settings import freeze


def config(**settings: Any) -> Config:
    """gunicorn's settings, with the parser in C if it is installed, unless they say otherwise."""
    config = Config()
    for name, value in settings.items():
        config.set(name, value)
    return config


def test_all_settings_are_there_as_gunicorn_has_them() -> None:
    original = config(keepalive=7, limit_request_line=300)
    frozen = freeze(original)
    for name in original.settings:
        assert getattr(frozen, name) == original.settings[name].get(), name
    assert frozen.is_ssl == original.is_ssl
    assert frozen.forwarded_allow_networks() == original.forwarded_allow_networks()


def test_a_later_change_changes_nothing() -> None:
    original = config(keepalive=7)
    frozen = freeze(original)
    original.set("keepalive", 8)
    assert frozen.keepalive == 7


@pytest.mark.parametrize(
    ("settings", "lean"),
    [
        ({}, True),
        ({"limit_request_line": 8190, "limit_request_fields": 1, "limit_request_field_size": 1}, True),
        ({"http_parser": "python"}, False),
        ({"proxy_protocol": "auto"}, False),
        ({"limit_request_line": 0}, False),
        ({"limit_request_field_size": 0}, False),
    ],
)
def test_heads_are_parsed_the_short_way_only_where_gunicorns_way_does_the_same(
    settings: dict[str, Any], lean: bool
) -> None:
    """gunicorn has more to do before it parses, or takes the limit to mean none."""
    frozen = freeze(config(**settings))
    assert frozen.lean is (lean and "fast" in PARSERS)
    assert not (frozen.lean and frozen.plain)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"proxy_protocol": "auto"}, False),
        ({"limit_request_line": 0}, False),
        ({"casefold_http_method": True}, False),
        ({"permit_unconventional_http_method": False}, False),
    ],
)
def test_plain_heads_are_parsed_here_only_where_gunicorn_has_no_more_rules(
    settings: dict[str, Any], plain: bool
) -> None:
    usual = {"http_parser": "python", "permit_unconventional_http_method": True}
    assert freeze(config(**(usual | settings))).plain is plain


def test_the_limits_reach_the_parser() -> None:
    parse_request_fast = pytest.importorskip(
        "gunicorn_h1c", reason="the parser in C is not installed"
    ).parse_request_fast
    frozen = freeze(config(limit_request_line=30, limit_request_fields=2, limit_request_field_size=20))
    line = b"GET /%b HTTP/1.1\r\n"
    head = parse_request_fast(line % b"a" + b"A: b\r\nB: c\r\n\r\nrest", 0, *frozen.parser_limits)
    assert (head.method, head.path, head.headers) == (b"GET", b"/a", ((b"A", b"b"), (b"B", b"c")))
    for beyond in (line % (b"a" * 30), line % b"a" + b"A: b\r\n" * 3, line % b"a" + b"A: " + b"b" * 20 + b"\r\n"):
        with pytest.raises(Exception, match=r"(?i)limit|too|exceed"):
            parse_request_fast(beyond + b"\r\n", 0, *frozen.parser_limits)
