from __future__ import annotations

from typing import Any

from lbflask.importers.precedence import intersection, ordered
from lbflask.importers.site import ImportedRoute, Place, Site


def rules(*matches: dict[str, Any]) -> list[ImportedRoute]:
    return [
        ImportedRoute(Place("x", number), f"rule {number}", match, {"pool": f"p{number}"})
        for number, match in enumerate(matches)
    ]


def found(*matches: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(route.action["pool"], dict(route.match)) for route in ordered(rules(*matches), Site())]


def test_an_earlier_rule_gets_a_route_where_a_later_one_is_more_specific() -> None:
    assert found({"path": "/api"}, {"host": "a.example"}) == [
        ("p0", {"path": "/api"}),
        ("p0", {"host": "a.example", "path": "/api"}),
        ("p1", {"host": "a.example"}),
    ]


def test_a_rule_that_an_earlier_one_covers_has_no_route() -> None:
    assert found({"path": "/api"}, {"path": "/api/v2"}, {"host": "a", "exact": "/api/x"}) == [("p0", {"path": "/api"})]
    assert found({"methods": ["GET", "HEAD"]}, {"methods": ["GET"]}) == [("p0", {"methods": ["GET", "HEAD"]})]


def test_rules_that_no_request_matches_both_stay_as_they_are() -> None:
    assert len(found({"scheme": "http"}, {"scheme": "https", "host": "a"})) == 2
    assert len(found({"listener": [":80"]}, {"listener": [":81"], "host": "a"})) == 2
    assert len(found({"headers": {"X": "1"}}, {"headers": {"X": "2"}, "host": "a"})) == 2


def test_rules_that_leave_each_other_out_have_no_overlap() -> None:
    assert intersection({"not": [{"path": ["/a"]}]}, {"path": "/a/b"}) == []
    assert intersection({"not": [{"path": ["/a/b"]}]}, {"path": "/a"}) == [{"path": "/a", "not": [{"path": ["/a/b"]}]}]


def test_overlaps_that_no_match_states_are_listed() -> None:
    site = Site()
    ordered(rules({"regex": "a"}, {"regex": "b", "host": "x"}), site)
    assert [one.reason for one in site.findings] == ["comes before rule 0 where both match"]
