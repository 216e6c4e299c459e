from __future__ import annotations

from typing import Any

from lbflask.importers.site import ImportedRoute, Place, Site
from lbflask.importers.variants import PartialSettings, with_partial

PLACE = Place("x", 1)
AUTH = {"auth": "a"}
FIELDS = {"response_headers": {"set": {"X": "1"}}}


def found(match: dict[str, Any], *partial: tuple[dict[str, Any], dict[str, Any]]) -> list[tuple[Any, Any]]:
    route = ImportedRoute(PLACE, "route", match, {"pool": "p"}, {"host": "h"})
    parts = [PartialSettings(PLACE, "partial", of, settings) for of, settings in partial]
    return [(one.match, one.settings) for one in with_partial(route, parts, Site())]


def test_some_requests_have_a_route_of_their_own_before_the_others() -> None:
    assert found({}, ({"path": ["/a"]}, AUTH)) == [({"path": "/a"}, {**AUTH, "host": "h"}), ({}, {"host": "h"})]


def test_settings_for_all_requests_of_a_route_are_its_own() -> None:
    assert found({"exact": "/a/b"}, ({"path": ["/a"]}, AUTH)) == [({"exact": "/a/b"}, {**AUTH, "host": "h"})]


def test_settings_for_none_of_its_requests_are_left_out() -> None:
    assert found({"path": "/b"}, ({"path": ["/a"]}, AUTH)) == [({"path": "/b"}, {"host": "h"})]


def test_settings_of_overlapping_conditions_add_up() -> None:
    assert [settings for _, settings in found({}, ({"path": ["/a"]}, AUTH), ({"path": ["/a/b"]}, FIELDS))] == [
        {**AUTH, **FIELDS, "host": "h"},
        {**AUTH, "host": "h"},
        {"host": "h"},
    ]


def test_settings_of_equal_conditions_add_up() -> None:
    assert found({}, ({"path": ["/a"]}, AUTH), ({"path": ["/a"]}, FIELDS)) == [
        ({"path": "/a"}, {**AUTH, **FIELDS, "host": "h"}),
        ({}, {"host": "h"}),
    ]


def test_a_check_whose_requests_cannot_be_stated_is_for_all_requests() -> None:
    site = Site()
    route = ImportedRoute(PLACE, "route", {"regex": "a"}, {"pool": "p"})
    checked = with_partial(route, [PartialSettings(PLACE, "auth", {"regex": "b"}, AUTH)], site)
    assert [(one.match, one.settings) for one in checked] == [({"regex": "a"}, AUTH)]
    assert [one.reason for one in site.findings] == ["for all requests of route"]


def test_other_settings_whose_requests_cannot_be_stated_are_listed() -> None:
    site = Site()
    route = ImportedRoute(PLACE, "route", {"regex": "a"}, {"pool": "p"})
    kept = with_partial(route, [PartialSettings(PLACE, "header", {"regex": "b"}, FIELDS)], site)
    assert [one.settings for one in kept] == [{}]
    assert [one.reason for one in site.findings] == ["no match states its requests of route"]
