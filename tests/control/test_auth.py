"""Who may come in: tokens, sessions, browsers that other sites have sent, and nobody through a public listener."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from lbflask.config.admin import AdminConfig
from lbflask.control.auth import Authenticator, TokenSet
from tests.control.servers import ALICE, BOB, GRAFANA, TOKENS, Counter
from tests.support.changes import property_test

FIRST = "/pools/default/backends/10.0.0.1:80"
ACTIONS = [
    ("POST", f"{FIRST}/drain", None),
    ("POST", f"{FIRST}/enable", None),
    ("POST", f"{FIRST}/off", None),
    ("POST", f"{FIRST}/uneject", None),
    ("PUT", f"{FIRST}/weight", {"weight": 2}),
    ("DELETE", FIRST, None),
    ("POST", "/pools/default/backends", {"url": "http://10.0.0.3:80"}),
]
READS = [
    "/state",
    "/fleet",
    "/pools",
    "/pools/default",
    FIRST,
    "/events",
    "/config",
    "/config/origins",
    "/doctor",
    "/session",
    "/stream",
]


@pytest.fixture
def guarded() -> Counter:
    return Counter(admin={"tokens": TOKENS})


def test_every_action_is_tried_here(guarded: Counter) -> None:
    acting = {(one.method, one.path) for one in guarded.api.table() if one.changes}
    assert len(ACTIONS) == len(acting)


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS, ids=str)
class TestActions:
    @pytest.mark.parametrize(
        ("authorization", "status"),
        [
            (None, 401),
            ("Bearer", 401),
            ("Bearer wrong-token-of-some-length", 401),
            (f"Bearer {ALICE[:-1]}", 401),
            (f"Bearer operator:alice:{ALICE}", 401),
            (f"Basic {ALICE}", 401),
            (f"Bearer {GRAFANA}", 403),
        ],
    )
    def test_without_the_right_token_it_is_refused_and_nothing_changes(
        self, guarded: Counter, method: str, path: str, body: object, authorization: str | None, status: int
    ) -> None:
        headers = {"Authorization": authorization} if authorization else {}
        answer = guarded.ask(method, path, json=body, headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert guarded.overrides() == {}
        assert guarded.facts.read_events(1) == []

    def test_through_a_public_listener_there_is_nothing(
        self, guarded: Counter, method: str, path: str, body: object
    ) -> None:
        for counter, token in ((guarded, ALICE), (Counter(), "")):
            answer = counter.ask(method, path, token, json=body, admin=False)
            assert (answer.status_code, counter.overrides()) == (404, {})

    def test_an_operator_may(self, guarded: Counter, method: str, path: str, body: object) -> None:
        for token in (ALICE, BOB):
            assert guarded.ask(method, path, token, json=body).status_code in (200, 404)


@pytest.mark.parametrize("path", READS)
def test_reading_needs_a_token_too_but_any(guarded: Counter, path: str) -> None:
    assert guarded.ask("GET", path).status_code == 401
    for token in (ALICE, GRAFANA):
        answer = guarded.ask("GET", path, token)
        assert answer.status_code == 200
        answer.close()


def test_the_document_is_for_everybody(guarded: Counter) -> None:
    assert guarded.get("/openapi.json")["openapi"] == "3.1.0"


def test_what_is_done_is_noted_with_the_name_of_the_token(guarded: Counter) -> None:
    assert guarded.ask("POST", f"{FIRST}/drain", BOB).status_code == 200
    assert guarded.facts.read_events(1)[0].actor == "bob (127.0.0.1)"


class TestSessions:
    def login(self, counter: Counter, token: str = ALICE) -> str:
        """The CSRF token of a session that the client has from now on."""
        answer = counter.ask("POST", "/session", json={"token": token})
        assert answer.status_code == 200
        cookie = answer.headers["Set-Cookie"]
        for attribute in ("HttpOnly", "SameSite=Strict", "Path=/api/v1", "Max-Age=43200"):
            assert attribute in cookie
        assert token not in cookie
        assert answer.json is not None
        return str(answer.json["csrf"])

    def test_a_token_opens_one_and_its_changes_show_what_it_was_told(self, guarded: Counter) -> None:
        csrf = self.login(guarded)
        who = guarded.get("/session")
        assert (who["name"], who["role"], who["csrf"]) == ("alice", "operator", csrf)
        assert guarded.ask("POST", f"{FIRST}/drain", headers={"X-CSRF-Token": csrf}).status_code == 200

    @pytest.mark.parametrize("shown", ["", "x", "é"])
    def test_a_change_that_does_not_show_it_is_refused(self, guarded: Counter, shown: str) -> None:
        self.login(guarded)
        answer = guarded.ask("POST", f"{FIRST}/drain", headers={"X-CSRF-Token": shown} if shown else {})
        assert (answer.status_code, guarded.overrides()) == (403, {})

    def test_one_of_a_reader_may_only_read(self, guarded: Counter) -> None:
        csrf = self.login(guarded, GRAFANA)
        assert guarded.ask("POST", f"{FIRST}/drain", headers={"X-CSRF-Token": csrf}).status_code == 403
        assert guarded.get("/fleet")["status"] == "ok"

    def test_a_wrong_token_opens_none(self, guarded: Counter) -> None:
        answer = guarded.ask("POST", "/session", json={"token": "wrong-token-of-some-length"})
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers

    def test_it_ends_by_itself_by_logout_and_with_its_token(self, guarded: Counter) -> None:
        self.login(guarded)
        guarded.clock.advance(12 * 3600 + 1)
        assert guarded.ask("GET", "/session").status_code == 401
        self.login(guarded)
        assert guarded.ask("DELETE", "/session").status_code == 204
        assert guarded.ask("GET", "/session").status_code == 401
        self.login(guarded)
        cookie = guarded.client.get_cookie("lbflask_session", "127.0.0.1", "/api/v1")
        assert cookie is not None
        without = Counter(admin={"tokens": TOKENS[1:]})
        assert without.ask("GET", "/session", headers={"Cookie": f"lbflask_session={cookie.value}"}).status_code == 401

    @pytest.mark.parametrize(
        "change",
        [
            lambda until, name, mac: f"{int(until) + 1}|{name}|{mac}",
            lambda until, name, mac: f"{until}|bob|{mac}",
            lambda until, name, mac: f"{until}|{name}|{'0' * 64}",
            lambda until, name, mac: f"{until}|{name}|",
            lambda until, name, mac: f"{'9' * 30}|{name}|{mac}",
            lambda until, name, mac: mac,
            lambda until, name, mac: "",
        ],
    )
    def test_a_forged_one_is_none(self, guarded: Counter, change: object) -> None:
        self.login(guarded)
        cookie = guarded.client.get_cookie("lbflask_session", "127.0.0.1", "/api/v1")
        assert cookie is not None
        forged = change(*cookie.decoded_value.split("|"))  # type: ignore[operator]
        guarded.client.delete_cookie("lbflask_session", domain="127.0.0.1", path="/api/v1")
        answer = guarded.ask("GET", "/session", headers={"Cookie": f'lbflask_session="{forged}"'})
        assert answer.status_code == 401


class TestBrowsers:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:8091"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_another_sites_page_changes_nothing(self, headers: dict[str, str]) -> None:
        for counter, token in ((Counter(), ""), (Counter(admin={"tokens": TOKENS}), ALICE)):
            assert counter.ask("POST", f"{FIRST}/drain", token, headers=headers).status_code == 403
            assert counter.overrides() == {}

    def test_our_own_page_may(self) -> None:
        headers = {"Origin": "http://127.0.0.1:8090", "Sec-Fetch-Site": "same-origin"}
        assert Counter().ask("POST", f"{FIRST}/drain", headers=headers).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8090"])
    def test_a_name_that_has_come_to_mean_this_machine_shows_nothing(self, host: str) -> None:
        """DNS rebinding: the page of evil.example reads what its name leads to."""
        counter = Counter()
        assert counter.ask("GET", "/state", base_url=f"http://{host}").status_code == 403

    @pytest.mark.parametrize("host", ["127.0.0.1:8090", "[::1]:8090", "localhost:9", "lb.localhost", "10.0.0.1"])
    def test_an_address_or_localhost_does(self, host: str) -> None:
        assert Counter().ask("GET", "/state", base_url=f"http://{host}").status_code == 200

    @pytest.mark.sampled(4, 1)
    @pytest.mark.parametrize(
        "host",
        ["a{}b.attacker.example", "{}attacker.example", "localhost{}.attacker.example", "attacker.example{}", "{}",
         "127.0.0.1{}x", "localhost{}x"],
    )  # fmt: skip
    def test_no_sign_in_a_name_makes_it_this_machine(self, host: str) -> None:
        for sign in (*"!\"$&'()*+,;=_`{}~ \\|^<>[]%@#?/:", "\x80", "\xff", "\t", "%6c", ".."):
            assert_refused(host.format(sign))

    @pytest.mark.parametrize(
        "host",
        [None, "", " ", ":", ":80", "user@localhost", "user:pw@127.0.0.1", "localhost@evil.example", "localhost:80:80",
         "localhost:99999", "localhost:65536", "localhost:-1", "localhost:+80", "localhost:8a", "localhost:0x50",
         "localhost:\u0668\u0660", "localhost:" + "8" * 5000, "localhost.evil.example", "evil.example.", "localhost..",
         ".localhost.evil", "localhost.localdomain", "%6cocalhost", "localhost%00", "%31%32%37.0.0.1", "127.1",
         "0x7f.1", "2130706433", "127.0.0.01", "127.0.0.256", "127.0.0.1.", "127.0.0.1.evil.example", "::1", "[::1",
         "::1]", "[::1]x", "[::1]:x", "[::1%lo]", "[::1%25lo]", "[fe80::1%25eth0]:80", "[::1%evil.example]",
         "[127.0.0.1]", "[localhost]", "[v1.a]", "[]", "[:]", "localhost,localhost", "localhost, evil.example",
         "http://localhost", "//localhost", "localhost/", "localhost?x", "localhost#x", "\uff4cocalhost",
         "127\u30020\u30020\u30021", "xn--localhost", "a" * 300 + ".localhost"],
    )  # fmt: skip
    def test_nor_does_any_other_spelling_nor_none_at_all(self, host: str | None) -> None:
        assert_refused(host)

    @pytest.mark.parametrize(
        "host",
        ["LOCALHOST", "Localhost:8090", "localhost.", "localhost.:80", "localhost:", "lb.LocalHost", "a.b.localhost.",
         "127.0.0.1:0", "127.0.0.2", "[::1]", "[0:0:0:0:0:0:0:1]:80", "[::FFFF:127.0.0.1]", "192.168.0.10:65535"],
    )  # fmt: skip
    def test_names_and_addresses_of_this_machine_in_any_spelling(self, host: str) -> None:
        assert status_of(Counter(), "GET", "/state", host) == 200

    @pytest.mark.parametrize(
        "origin",
        ["", " ", "null", "http://", "http://[", "http://]", "http://[::1", "http://[v1.x]", "http://127.0.0.1:99999",
         "http://127.0.0.1:" + "9" * 5000, "http://127.0.0.1:x", "http://127.0.0.1:8091", "http://127.0.0.1:8090/x",
         "http://127.0.0.1:8090?", "http://127.0.0.1:8090#", "http://u@127.0.0.1:8090", "//127.0.0.1:8090",
         "127.0.0.1:8090", "ftp://127.0.0.1:8090", "file://127.0.0.1:8090", "http:127.0.0.1:8090", "https://127.0.0.1",
         "http://127.0.0.1:8090, http://evil.example", "http://127.0.0.1:8090 http://127.0.0.1:8090", "\x80",
         "http://\xe9.example", "http://\xff", "http://127.0.0.1%3a8090", "http://localhost:8090", "h" * 8000,
         "http://" + "[" * 8000],
    )  # fmt: skip
    def test_an_origin_that_is_not_ours_is_refused_in_any_spelling(self, origin: str) -> None:
        for counter, token in ((Counter(), ""), (Counter(admin={"tokens": TOKENS}), ALICE)):
            for host in ("127.0.0.1:8090", "a_b.example", "a b", "", None):
                assert status_of(counter, "POST", f"{FIRST}/drain", host, token, HTTP_ORIGIN=origin) == 403
                assert counter.overrides() == {}

    @pytest.mark.parametrize(
        ("host", "origin"),
        [
            ("127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("127.0.0.1:80", "http://127.0.0.1"),
            ("127.0.0.1", "http://127.0.0.1:80"),
            ("LB.localhost", "https://lb.LOCALHOST"),
            ("[::1]:8090", "http://[::1]:8090"),
        ],
    )
    def test_ours_is_admitted(self, host: str, origin: str) -> None:
        assert status_of(Counter(), "POST", f"{FIRST}/drain", host, HTTP_ORIGIN=origin) == 200

    def test_with_tokens_any_name_does(self, guarded: Counter) -> None:
        assert guarded.ask("GET", "/state", GRAFANA, base_url="http://lb.example.com").status_code == 200


def status_of(counter: Counter, method: str, path: str, host: str | None, token: str = "", **environ: str) -> int:
    """The status of the answer to a request with exactly this Host, or none."""
    asked = EnvironBuilder(path=f"/api/v1{path}", method=method).get_environ()
    del asked["HTTP_HOST"]
    asked |= {"lbflask.admin": True, "wsgi.multithread": True, **environ}
    asked |= {} if host is None else {"HTTP_HOST": host}
    asked |= {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    return int(run_wsgi_app(counter.app, asked)[1].split()[0])


def assert_refused(host: str | None) -> None:
    """Nothing is shown to who names this host, and nothing changed."""
    counter = Counter()
    for method, path in (("GET", "/state"), ("GET", "/openapi.json"), ("POST", f"{FIRST}/drain")):
        assert status_of(counter, method, path, host) in (400, 403), (host, path)
    assert counter.overrides() == {}


class TestTokenFile:
    def test_tokens_are_changed_without_a_restart(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.write_text(TOKENS[0])
        counter = Counter(admin={"token_file": str(file)})
        assert counter.ask("GET", "/fleet", ALICE).status_code == 200
        assert counter.ask("GET", "/fleet", BOB).status_code == 401
        file.write_text(f"{TOKENS[1]}\n{TOKENS[2]}")
        assert counter.ask("GET", "/fleet", BOB).status_code == 200
        assert counter.ask("GET", "/fleet", ALICE).status_code == 401

    def test_a_file_that_has_become_unreadable_or_wrong_leaves_the_last_tokens(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.write_text(TOKENS[0])
        counter = Counter(admin={"token_file": str(file)})
        assert counter.ask("GET", "/fleet", ALICE).status_code == 200
        file.write_text("not a token")
        assert counter.ask("GET", "/fleet", ALICE).status_code == 200
        file.unlink()
        assert counter.ask("GET", "/fleet", ALICE).status_code == 200
        assert counter.ask("GET", "/fleet").status_code == 401

    def test_an_empty_file_is_no_open_door(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.write_text("# none yet\n")
        assert Counter(admin={"token_file": str(file)}).ask("GET", "/fleet").status_code == 401


def test_a_debugger_sees_no_secret() -> None:
    tokens = TokenSet(AdminConfig.model_validate({"tokens": TOKENS}))
    authenticator = Authenticator(tokens, lambda: 0.0)
    _, principal = authenticator.open_session(ALICE, "127.0.0.1")
    shown = f"{tokens!r} {authenticator!r} {principal!r}"
    assert "3 tokens" in shown
    assert "alice" in shown
    assert ALICE not in shown
    assert str(principal.csrf) not in shown


test_no_fields_admit_a_client_without_a_token = property_test("credentials")
