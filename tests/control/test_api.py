"""The admin API: what it tells, what it does, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.certificates import Authority
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import BackendCounts, WorkerIdentity, WorkerReport, bucket_of
from lbflask.core.model import Backend, Mode, Override
from lbflask.store.ports import Beat
from tests.control.servers import DOWN, GRAFANA, TOKENS, UP, Counter
from tests.support.pool_routes import with_routes

FIRST = "/pools/default/backends/10.0.0.1:80"
SECOND = "/pools/default/backends/two"


@pytest.fixture
def counter() -> Counter:
    return Counter()


def tag(counter: Counter, path: str = FIRST) -> str:
    etag = counter.ask("GET", path).headers["ETag"]
    assert etag.startswith('"')
    return etag


def states(counter: Counter) -> dict[str, str]:
    return {backend["id"]: backend["state"] for backend in counter.get("/pools/default")["backends"]}


class TestReading:
    def test_a_backend_is_told_with_its_health_and_why(self, counter: Counter) -> None:
        counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
        first, second = counter.get("/pools/default/backends")["backends"]
        assert (first["id"], first["state"], first["serving"], first["weight"]) == ("10.0.0.1:80", "up", True, 1)
        assert (second["state"], second["reason"], second["serving"]) == ("down", "connection refused", False)
        assert second["health"] == {
            "state": "down",
            "reason": "connection refused",
            "since": 2.5,
            "streak": 0,
            "cause": "refused",
            "certificate_expires": None,
        }
        assert counter.get(SECOND) == second

    def test_numbers_are_those_of_all_workers(self, counter: Counter) -> None:
        for name, attempts, failures in (("host:1:a", 100, 0), ("host:2:b", 300, 20)):
            served = {"two": BackendCounts(attempts, failures, {bucket_of(0.010): 99, bucket_of(0.500): 1})}
            report = WorkerReport(WorkerIdentity("one", "host", 1, "1.0", "abc"), counter.clock(), 10.0, served)
            counter.facts.beat("default", name, Beat({"two": 2}, report=report), read=False)
        two = counter.get(SECOND)
        assert (two["in_flight"], two["requests_per_second"], two["error_share"]) == (4, 40.0, 0.05)
        assert two["p50"] == pytest.approx(0.010, rel=0.1)
        fleet = counter.get("/fleet")
        # These workers, as of an older version, do not report their answers: attempts are all that is known.
        assert (fleet["in_flight"], fleet["requests_per_second"], fleet["answered_by"]) == (4, 40.0, "one")
        assert fleet["answers"] == {"per_second": 0.0, "error_share": None, "by_class": {}, "causes": []}
        (instance,) = fleet["instances"]
        assert (instance["name"], instance["version"], instance["config"]) == ("one", ["1.0"], ["abc"])
        assert [worker["in_flight"] for worker in instance["workers"]] == [2, 2]
        assert [worker["clock_ahead"] for worker in instance["workers"]] == [0.0, 0.0]

    def test_what_clients_got_is_the_sum_over_workers_and_counted_once_for_all_pools(self, counter: Counter) -> None:
        ok, missing = AnswerKey("2xx", "backend"), AnswerKey("4xx", "backend")
        limited, down = AnswerKey("429", "rate_limit", "each"), AnswerKey("503", "no_backend", "default")
        reported = {"host:1:a": {ok: 60, limited: 30}, "host:2:b": {ok: 80, missing: 20, limited: 5, down: 5}}
        for name, counts in reported.items():
            answers = Answers(10.0, counts)
            for pool in counter.running.pools:
                report = WorkerReport(WorkerIdentity("one", "host", 1), counter.clock(), 10.0, {}, answers=answers)
                counter.facts.beat(pool, name, Beat({}, report=report), read=False)
        fleet = counter.get("/fleet")
        assert fleet["requests_per_second"] == 20.0
        assert fleet["answers"] == {
            "per_second": 20.0,
            "error_share": 0.2,
            "by_class": {"2xx": 14.0, "4xx": 5.5, "5xx": 0.5},
            "causes": [
                {"status": "429", "cause": "rate_limit", "name": "each", "per_second": 3.5},
                {"status": "503", "cause": "no_backend", "name": "default", "per_second": 0.5},
            ],
        }

    @pytest.mark.parametrize(
        ("override", "state"),
        [
            (Override(Mode.DRAINING), "draining"),
            (Override(Mode.OFF), "off"),
            (Override(weight=0), "idle"),
            (Override(weight=9), "up"),
        ],
    )
    def test_what_operators_want_is_the_state(self, counter: Counter, override: Override, state: str) -> None:
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        assert counter.facts.write_override("default", "two", None, override)
        assert states(counter)["two"] == state
        assert counter.get(SECOND)["overridden"]

    def test_a_checker_that_has_never_spoken_leaves_backends_unknown_and_serving(self, counter: Counter) -> None:
        assert states(counter) == {"10.0.0.1:80": "unknown", "two": "unknown"}
        pool = counter.get("/pools/default")
        assert pool["serving"] == 2
        assert pool["checker"] == {"leader": "", "heartbeat": None, "standby": [], "silent": True}

    def test_an_ejected_backend_says_until_when(self, counter: Counter) -> None:
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        counter.eject(Backend("two", "10.0.0.2", 80, "http://10.0.0.2:80"))
        two = counter.get(SECOND)
        assert (two["state"], two["serving"], two["ejection"]["times"]) == ("ejected", False, 1)
        assert two["ejection"]["until"] == two["ejection"]["since"] + 30

    def test_a_backup_stands_by(self) -> None:
        counter = Counter(backends=["http://a:1", {"url": "http://b:1", "backup": True}])
        counter.check(a_1=UP, b_1=UP)
        assert states(counter) == {"a:1": "up", "b:1": "standby"}
        counter.check(a_1=DOWN, b_1=UP)
        assert states(counter) == {"a:1": "down", "b:1": "up"}

    def test_all_pools_are_told(self) -> None:
        counter = Counter(**with_routes({"pools": {"api": {"backends": ["http://c:1"]}}}))
        assert [pool["name"] for pool in counter.get("/pools")["pools"]] == ["default", "api"]
        state = counter.get("/state")
        assert [pool["name"] for pool in state["pools"]] == ["default", "api"]
        assert state["fleet"]["status"] == "ok"

    @pytest.mark.parametrize("path", ["/pools/none", "/pools/none/backends", f"{FIRST}x", "/x", "/pools//backends"])
    def test_what_is_not_there_is_a_problem(self, counter: Counter, path: str) -> None:
        answer = counter.ask("GET", path)
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
        assert answer.json is not None
        assert set(answer.json) == {"type", "title", "status", "detail"}

    def test_the_configuration_is_told_without_secrets(self) -> None:
        secret = "0123456789abcdef"
        counter = Counter(redis_url=f"redis://:{secret}@r", admin={"tokens": f"operator:a:{secret}"})
        told = counter.ask("GET", "/config", secret)
        assert told.status_code == 200
        assert secret not in told.text
        assert told.json is not None
        assert told.json["settings"]["admin"]["tokens"] == ["operator:a:***"]

    def test_without_the_store_what_is_known_is_told_as_stale(self, counter: Counter) -> None:
        counter.store.lose("gone")
        counter.fleet.degrade("gone", FailureCause.READ_ONLY)
        fleet = counter.get("/fleet")
        assert (fleet["stale"], fleet["status"], fleet["store"]) == (
            True, "degraded", {"connected": False, "why": "gone", "cause": "read_only"},
        )  # fmt: skip
        assert counter.ask("GET", "/events").status_code == 503
        refused = counter.ask("POST", f"{FIRST}/drain")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")

    def test_without_the_store_figures_are_unknown_with_their_age_and_the_own_ones_are_told(
        self, counter: Counter
    ) -> None:
        served = {"two": BackendCounts(100, 0)}
        report = WorkerReport(WorkerIdentity("one", "host", 7), counter.clock(), 10.0, served)
        counter.facts.beat("default", "host:7:a", Beat({"two": 3}, report=report), read=False)
        counter.fleet.refresh()
        before = counter.get("/fleet")
        assert (before["in_flight"], before["requests_per_second"], before["local"]) == (3, 10.0, None)
        assert before["as_of"] == counter.clock()
        counter.store.lose("gone")
        counter.fleet.degrade("gone")
        counter.fleet.traffic("default").began("two")
        counter.fleet.flush()
        fleet = counter.get("/fleet")
        assert (fleet["in_flight"], fleet["requests_per_second"]) == (None, None)
        assert fleet["as_of"] == before["as_of"] <= fleet["at"]
        assert fleet["local"]["in_flight"] == 1
        (instance,) = fleet["instances"]
        (worker,) = instance["workers"]
        assert (instance["name"], worker["pid"]) == ("one", 7), "as last read"
        assert (worker["in_flight"], worker["requests_per_second"]) == (None, None)
        assert counter.get(SECOND)["in_flight"] == 1, "of the worker that answers"

    def test_without_the_store_from_the_start_nothing_is_said_about_the_fleet(self, counter: Counter) -> None:
        counter.store.lose("gone")
        counter.fleet.degrade("gone")
        fleet = counter.get("/fleet")
        assert (fleet["as_of"], fleet["instances"], fleet["requests_per_second"]) == (None, [], None)


class TestExplaining:
    def test_a_request_is_explained_by_what_is_in_effect(self, counter: Counter) -> None:
        counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
        told = counter.act("POST", "/explain", json={"method": "GET", "url": "/x?y"})
        assert (told["route"], told["answer"], told["target"], told["store_error"]) == ("", "", "/x?y", None)
        (pool,) = told["pools"]
        assert [one["backend"] for one in pool["candidates"]] == ["10.0.0.1:80"]
        assert pool["left_out"] == [{"backend": "two", "why": "down: connection refused"}]

    def test_header_fields_and_the_client_count(self) -> None:
        route = {"name": "beta", "match": {"headers": {"X-Beta": True}, "host": "shop.example"}, "pool": "default"}
        counter = Counter(routes=[route])
        asked = {"method": "GET", "url": "http://shop.example/x", "headers": ["X-Beta: 1"], "client": "192.0.2.1"}
        assert counter.act("POST", "/explain", json=asked)["route"] == "beta"
        assert counter.act("POST", "/explain", json={**asked, "headers": []})["route"] == ""

    def test_the_scheme_and_the_listener_count(self) -> None:
        listeners = [{"bind": "127.0.0.1:80"}, {"bind": "127.0.0.1:81", "name": "inner"}]
        routes = [
            {"name": "s", "match": {"scheme": "https"}, "pool": "default"},
            {"name": "l", "match": {"listener": "inner"}, "pool": "default"},
        ]
        counter = Counter(routes=routes, listeners=listeners)
        asked = {"method": "GET", "url": "/"}
        secure = counter.act("POST", "/explain", json={**asked, "url": "https://shop.example/"})
        assert (secure["route"], secure["match"]) == ("s", "scheme https")
        for listener, route in (("", ""), ("127.0.0.1:80", ""), ("127.0.0.1:81", "l"), ("inner", "l")):
            assert counter.act("POST", "/explain", json={**asked, "listener": listener})["route"] == route

    def test_a_listener_that_only_redirects_answers_all_but_challenges(self, tmp_path: Path) -> None:
        pair = Authority(tmp_path).pair("shop.example")
        listeners = [
            {"bind": "127.0.0.1:80", "name": "plain", "redirect": "https"},
            {"bind": "127.0.0.1:8443", "name": "tls", "tls": True},
        ]
        counter = Counter(listeners=listeners, tls={"certificate": pair.certificate, "key": pair.key})
        asked = {"method": "GET", "url": "http://shop.example/x?y"}
        plain = counter.act("POST", "/explain", json=asked)
        assert (plain["answer"], plain["pools"]) == ("308 to https://shop.example:8443/x?y", [])
        assert counter.act("POST", "/explain", json={**asked, "listener": "tls"})["answer"] == ""
        assert counter.act("POST", "/explain", json={**asked, "url": "https://shop.example/x"})["answer"] == ""
        for path in ("/health", "/.well-known/acme-challenge/a"):
            found = counter.act("POST", "/explain", json={**asked, "url": f"http://shop.example{path}"})
            assert "308" not in found["answer"]

    def test_a_route_that_names_the_path_of_the_balancers_health_gets_it(self) -> None:
        counter = Counter(routes=[{"name": "h", "match": {"exact": "/health"}, "pool": "default"}])
        for path, route in (("/health", "h"), ("/live", "")):
            assert counter.act("POST", "/explain", json={"method": "GET", "url": path})["route"] == route

    @pytest.mark.parametrize(("path", "answered"), [("/health", True), ("/live", True), ("/healthz", False)])
    def test_paths_of_the_balancer_itself_reach_no_backend(self, counter: Counter, path: str, answered: bool) -> None:
        assert bool(counter.act("POST", "/explain", json={"method": "GET", "url": path})["answer"]) is answered

    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"method": "GET"},
            {"method": "GET", "url": "x"},
            {"method": "CONNECT", "url": "a:1"},
            {"method": "GET", "url": "/", "client": "me"},
            {"method": "GET", "url": "/", "headers": ["X-Beta"]},
            {"method": "GET", "url": "/", "more": 1},
            {"method": "GET", "url": "/" * 5000},
        ],
    )
    def test_what_is_no_request_is_refused(self, counter: Counter, asked: object) -> None:
        assert counter.ask("POST", "/explain", json=asked).status_code == 422

    def test_a_reader_may_ask_and_nothing_is_taken(self) -> None:
        counter = Counter(admin={"tokens": TOKENS})
        answer = counter.ask("POST", "/explain", GRAFANA, json={"method": "GET", "url": "/"})
        assert answer.status_code == 200
        assert counter.facts.take_tickets("default", 1) == 0
        assert counter.ask("POST", "/explain", json={"method": "GET", "url": "/"}).status_code == 401


class TestEvents:
    def test_they_come_page_by_page(self, counter: Counter) -> None:
        counter.facts.record([FleetEvent(Kind.HEALTH, "up", "default", str(number)) for number in range(5)])
        page = counter.get("/events?limit=2")
        assert [event["backend"] for event in page["events"]] == ["4", "3"]
        page = counter.get(f"/events?limit=2&before={page['before']}")
        assert [event["backend"] for event in page["events"]] == ["2", "1"]
        page = counter.get(f"/events?limit=2&before={page['before']}")
        assert ([event["backend"] for event in page["events"]], page["before"]) == (["0"], None)

    @pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "before=x", "before=1-"])
    def test_a_page_that_cannot_be_is_refused(self, counter: Counter, query: str) -> None:
        assert counter.ask("GET", f"/events?{query}").status_code == 400

    def test_a_stream_tells_the_state_and_then_what_happens(self, counter: Counter) -> None:
        counter.facts.record([FleetEvent(Kind.HEALTH, "up", "default", "before")])
        answer = counter.ask("GET", "/stream")
        assert answer.mimetype == "text/event-stream"
        pieces = iter(answer.response)
        assert next(pieces) in ("retry: 1000\n\n", b"retry: 1000\n\n")
        state = text(next(pieces))
        assert state.startswith("event: state\ndata: ")
        assert json.loads(state.split("data: ", 1)[1])["fleet"]["status"] == "ok"
        counter.facts.record([FleetEvent(Kind.HEALTH, "down", "default", "two")])
        told = text(next(pieces))
        while "event: event" not in told:
            told = text(next(pieces))
        assert '"backend":"two"' in told
        assert "before" not in told
        counter.api.streams.ends = lambda: True
        assert list(pieces) == []

    def test_a_stream_goes_on_where_it_broke_off(self, counter: Counter) -> None:
        counter.facts.record([FleetEvent(Kind.HEALTH, "up", "default", str(number)) for number in range(3)])
        first = counter.get("/events")["events"][-1]
        answer = counter.ask("GET", "/events/stream", headers={"Last-Event-ID": first["id"]})
        pieces = iter(answer.response)
        next(pieces)
        told = text(next(pieces))
        assert told.count("event: event") == 2
        counter.api.streams.ends = lambda: True
        assert list(pieces) == []

    def test_a_worker_that_would_do_nothing_else_gives_no_stream(self, counter: Counter) -> None:
        answer = counter.client.get(
            "/api/v1/stream", base_url="http://127.0.0.1", environ_overrides={"lbflask.admin": True}
        )
        assert answer.status_code == 503


def text(piece: Any) -> str:
    return piece.decode() if isinstance(piece, bytes) else str(piece)


class TestActing:
    @pytest.mark.parametrize(("what", "mode"), [("drain", Mode.DRAINING), ("off", Mode.OFF)])
    def test_a_mode_is_set_once_and_told_once(self, counter: Counter, what: str, mode: Mode) -> None:
        done = counter.act("POST", f"{FIRST}/{what}")
        assert (done["changed"], done["backend"]["mode"], done["backend"]["serving"]) == (True, mode.value, False)
        assert counter.act("POST", f"{FIRST}/{what}")["changed"] is False
        assert {id_: override.mode for id_, override in counter.overrides().items()} == {"10.0.0.1:80": mode}
        (event,) = counter.facts.read_events(10)
        assert (event.kind, event.what, event.backend, event.actor) == (
            Kind.OPERATOR, what, "10.0.0.1:80", "local (127.0.0.1)",
        )  # fmt: skip
        enabled = counter.act("POST", f"{FIRST}/enable")
        assert (enabled["changed"], enabled["backend"]["overridden"]) == (True, False)
        assert counter.overrides() == {"10.0.0.1:80": Override(since=counter.clock())}
        assert counter.act("POST", f"{FIRST}/enable")["changed"] is False

    def test_a_weight_is_set_and_taken_back(self, counter: Counter) -> None:
        two = counter.act("PUT", f"{SECOND}/weight", json={"weight": 7})["backend"]
        assert (two["weight"], two["usual_weight"]) == (7, 3)
        assert counter.act("PUT", f"{SECOND}/weight", json={"weight": None})["backend"]["weight"] == 3
        assert counter.overrides() == {}

    @pytest.mark.parametrize("weight", [-1, 257, 1.5, "x", True, [], {}])
    def test_a_weight_that_is_none_is_refused(self, counter: Counter, weight: object) -> None:
        answer = counter.ask("PUT", f"{SECOND}/weight", json={"weight": weight})
        assert (answer.status_code, counter.overrides()) == (422, {})

    def test_a_backend_is_added_weighed_and_removed(self, counter: Counter) -> None:
        new = {"url": "http://10.0.0.3:80", "name": "three", "weight": 5}
        done = counter.act("POST", "/pools/default/backends", json=new)
        assert (done["changed"], done["backend"]["id"], done["backend"]["origin"]) == (True, "three", "added")
        assert counter.act("POST", "/pools/default/backends", json=new)["changed"] is False
        assert counter.act("PUT", "/pools/default/backends/three/weight", json={"weight": 1})["changed"]
        assert counter.act("DELETE", "/pools/default/backends/three") == {"changed": True, "backend": None}
        assert counter.overrides() == {}
        counter.act("DELETE", "/pools/default/backends/three", 404)

    def test_a_configured_backend_is_removed_and_brought_back(self, counter: Counter) -> None:
        assert counter.act("DELETE", SECOND) == {"changed": True, "backend": None}
        assert counter.act("DELETE", SECOND) == {"changed": False, "backend": None}
        pool = counter.get("/pools/default")
        assert (pool["removed"], [backend["id"] for backend in pool["backends"]]) == (["two"], ["10.0.0.1:80"])
        counter.act("POST", f"{SECOND}/drain", 404)
        enabled = counter.act("POST", f"{SECOND}/enable")["backend"]
        assert (enabled["id"], enabled["overridden"]) == ("two", False)
        assert counter.overrides() == {"two": Override(since=counter.clock())}

    @pytest.mark.parametrize(
        ("new", "status"),
        [
            ({"url": "ftp://a:1"}, 422),
            ({"url": "http://a:0"}, 422),
            ({"url": "http://a:1/path"}, 422),
            ({"url": "http://a:1", "weight": 300}, 422),
            ({"url": "http://a:1", "name": "a b"}, 422),
            ({"url": "http://a:1", "more": 1}, 422),
            ({}, 422),
            ([], 422),
            ({"url": "http://10.0.0.9:80", "name": "two"}, 409),
            ({"url": "http://10.0.0.2:80", "name": "other"}, 409),
        ],
    )
    def test_what_cannot_be_added_is_refused(self, counter: Counter, new: object, status: int) -> None:
        assert counter.ask("POST", "/pools/default/backends", json=new).status_code == status
        assert counter.overrides() == {}

    def test_a_name_that_a_removed_backend_has_is_not_given_to_another(self, counter: Counter) -> None:
        counter.act("DELETE", SECOND)
        refused = counter.ask("POST", "/pools/default/backends", json={"url": "http://10.0.0.9:80", "name": "two"})
        assert refused.status_code == 409

    def test_an_ejected_backend_is_taken_back(self, counter: Counter) -> None:
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        counter.eject(Backend("two", "10.0.0.2", 80, "http://10.0.0.2:80"))
        assert counter.act("POST", f"{SECOND}/uneject")["backend"]["state"] == "up"
        assert counter.act("POST", f"{SECOND}/uneject")["changed"] is False
        assert [event.what for event in counter.facts.read_events(10)] == ["uneject"]

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"null", b'"x"'])
    def test_a_body_that_is_no_document_is_refused(self, counter: Counter, body: bytes) -> None:
        answer = counter.ask("PUT", f"{SECOND}/weight", data=body, content_type="application/json")
        assert answer.status_code in (400, 413, 422)
        assert answer.mimetype == "application/problem+json"
        assert counter.overrides() == {}

    def test_a_body_of_another_type_is_refused(self, counter: Counter) -> None:
        """A page of another site could send it without asking (CSRF)."""
        assert counter.ask("PUT", f"{SECOND}/weight", data='{"weight": 1}').status_code == 415

    def test_a_huge_body_is_refused(self, counter: Counter) -> None:
        body = json.dumps({"weight": 1, "x": "x" * 70_000})
        answer = counter.ask("PUT", f"{SECOND}/weight", data=body, content_type="application/json")
        assert answer.status_code == 413

    def test_a_method_that_a_path_has_not_is_a_problem_that_names_those_it_has(self, counter: Counter) -> None:
        answer = counter.ask("GET", f"{FIRST}/drain")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


class TestEntityTags:
    def test_an_action_on_what_is_known_is_done_and_gives_the_next_tag(self, counter: Counter) -> None:
        first = counter.ask("POST", f"{FIRST}/drain", headers={"If-Match": tag(counter)})
        assert first.status_code == 200
        assert first.headers["ETag"] == tag(counter)
        again = counter.ask("PUT", f"{FIRST}/weight", json={"weight": 2}, headers={"If-Match": first.headers["ETag"]})
        assert again.status_code == 200

    def test_an_action_on_what_is_no_more_is_refused_and_changes_nothing(self, counter: Counter) -> None:
        old = tag(counter)
        counter.act("POST", f"{FIRST}/drain")
        before = counter.overrides()
        for method, path in (("POST", f"{FIRST}/off"), ("DELETE", FIRST), ("POST", f"{FIRST}/drain")):
            assert counter.ask(method, path, headers={"If-Match": old}).status_code == 412
        assert counter.overrides() == before

    def test_a_star_changes_whatever_holds(self, counter: Counter) -> None:
        counter.act("POST", f"{FIRST}/drain")
        assert counter.ask("POST", f"{FIRST}/off", headers={"If-Match": "*"}).status_code == 200

    @pytest.mark.parametrize("weak", ['W/"e3b0c44298fc1c14"', '"a", "b"'])
    def test_a_weak_tag_or_several_are_refused(self, counter: Counter, weak: str) -> None:
        assert counter.ask("POST", f"{FIRST}/off", headers={"If-Match": weak}).status_code == 400
        assert counter.overrides() == {}

    def test_the_tag_of_a_backend_is_not_that_of_another_word(self, counter: Counter) -> None:
        before = tag(counter)
        counter.check(**{"10.0.0.1_80": DOWN})
        assert tag(counter) == before, "only what operators set counts"


def test_a_debugger_sees_what_the_parts_are() -> None:
    counter = Counter()
    assert repr(counter.api) == "<AdminApi of one: <Operations on <Running pools default>, degraded=False>>"
    assert repr(counter.api.streams) == "<EventStreams 0 of 32 open>"
