"""The client and the URL of a request as backends, limits and logs see them, and fields in which proxies state both.

Clients come from 127.0.0.1, which is not trusted, or from 127.0.0.2, a trusted proxy. The listener is IPv6, so the
system shows both as mapped into IPv6.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.raw_client import RawClient, RawResponse
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn, free_port, runtime_directory
from devtools.wait import PATIENCE, eventually
from tests.support.programmed import Programme, ProgrammedBackend, Received
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

STRANGER, PROXY = "127.0.0.1", "127.0.0.2"
WORKERS = {"own": (), "gthread": ("-k", "gthread", "--threads", "4")}
BURST = 2
LIMITS = """
[rate_limits.address]
rate = "1/h"
burst = 2
[[routes]]
name = "address"
match = { path = "/address" }
rate_limit = "address"
pool = "default"
[[routes]]
name = "claim"
match = { path = "/claim", headers = { X-Forwarded-Group = "staff" } }
respond = { status = 204 }
"""
_KEYS = {"header": "X-Api-Key", "credentials": "Authorization", "query": "api_key", "cookie": "session"}
for _name, _key in _KEYS.items():
    _kind = _name.replace("credentials", "header")
    LIMITS += (
        f'[rate_limits.{_name}]\nrate = "1/h"\nburst = {BURST}\nkey = "{_kind}:{_key}"\n'
        f'[[routes]]\nname = "{_name}"\nmatch = {{ path = "/{_name}" }}\nrate_limit = "{_name}"\npool = "default"\n'
    )


@dataclass(slots=True)
class House:
    """A balancer behind a dual-stack listener and a unix socket."""

    kind: str
    port: int
    path: str
    backend: ProgrammedBackend
    log: Path

    def ask(
        self, *lines: str, source: str = STRANGER, target: str = "/", host: str = "shop.example", version: str = "1.1"
    ) -> RawResponse:
        """The answer to a GET with these field lines."""
        return self._ask(self.port, source, target, (f"Host: {host}", *lines), version)

    def ask_by_path(self, *lines: str) -> RawResponse:
        """The same through the unix socket."""
        return self._ask(self.path, STRANGER, "/", ("Host: shop.example", *lines), "1.1")

    def seen(self, *lines: str, source: str = STRANGER, target: str = "/", host: str = "shop.example") -> Received:
        """The request as the backend got it."""
        self.backend.programme = Programme()
        assert self.ask(*lines, source=source, target=target, host=host).status == 200
        return self.backend.request

    def logged(self, target: str) -> str:
        """The client of the only request for the target, as it is logged."""
        lines = eventually(
            lambda: [line for line in self.log.read_text().splitlines() if f'"{target}"' in line], f"{target} is logged"
        )
        (line,) = lines
        return str(json.loads(line)["client"])

    @staticmethod
    def _ask(where: int | str, source: str, target: str, lines: tuple[str, ...], version: str) -> RawResponse:
        with RawClient(where, source=source) as client:
            head = "\r\n".join([f"GET {target} HTTP/{version}", *lines, "Connection: close", "", ""])
            return client.ask(head.encode("latin-1"))


_targets = map("/once-{}".format, itertools.count())


@pytest.fixture(scope="module", params=first_of(WORKERS))
def _house(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp(f"identity-{request.param}")
    backend, log, file = ProgrammedBackend(), directory / "access.log", directory / "lbflask.toml"
    with ExitStack() as running:
        path = running.enter_context(runtime_directory()) / "public.sock"
        server = running.enter_context(ScriptedBackend(backend.play))
        file.write_text(f'backends = ["{server.url}"]\n{LIMITS}')
        port = free_port()
        balancer = running.enter_context(
            Gunicorn(
                *WORKERS[request.param],
                workers=1,
                config=file,
                redis_url=store,
                namespace=f"identity-{request.param}",
                bind=f"[::]:{port},unix:{path}",
                trusted_proxies=f"{PROXY}/32,2001:db8:ffff::/48,::ffff:10.0.0.0/104",
                keep_forwarded="X-Forwarded-Tenant,cf-connecting-ipv6",
                forwarded="true",
                access_log=log,
                access_log_format="json",
            )
        )
        yield House(request.param, port, str(path), backend, log)
        balancer.assert_no_traceback()


@pytest.fixture
def house(_house: House) -> House:
    _house.backend.programme = Programme()
    return _house


# The port, and the URL that was asked for


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("shop.example", b"80"),
        ("shop.example:8443", b"8443"),
        ("shop.example:80", b"80"),
        ("shop.example:", b"80"),
        ("[2001:db8::1]", b"80"),
        ("[2001:db8::1]:8080", b"8080"),
        ("[2001:db8::1]:", b"80"),
        ("192.0.2.1:81", b"81"),
        ("shop.example:080", b"80"),
        ("shop.example:0", b"80"),
        ("shop.example:99999", b"80"),
    ],
)
def test_the_port_is_that_of_the_url_and_not_of_the_listener(house: House, host: str, port: bytes) -> None:
    assert house.seen(host=host).values(b"x-forwarded-port") == [port]


def test_without_a_host_the_port_is_that_of_the_scheme(house: House) -> None:
    with RawClient(house.port) as client:
        assert client.ask(b"GET / HTTP/1.0\r\n\r\n").status == 200
    assert house.backend.request.values(b"x-forwarded-port") == [b"80"]


def test_a_unix_listener_has_a_port_too(house: House) -> None:
    assert house.ask_by_path().status == 200
    assert house.backend.request.values(b"x-forwarded-port") == [b"80"]
    assert house.backend.request.values(b"forwarded") == [b"for=unknown;host=shop.example;proto=http"]


@pytest.mark.parametrize(
    ("claims", "port", "element"),
    [
        (["X-Forwarded-Proto: https"], b"443", b"for=127.0.0.2;host=inner;proto=https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example:8443"], b"8443",
         b'for=127.0.0.2;host="shop.example:8443";proto=https'),
        (["X-Forwarded-Proto: HTTPS, http", "X-Forwarded-Host: [2001:db8::1]"], b"443", None),
        (["X-Forwarded-Host: a.example:81, b.example:82"], b"81", None),
        (["X-Forwarded-Host: shop.example"], b"80", b"for=127.0.0.2;host=shop.example;proto=http"),
        (["X-Forwarded-Port: 9443", "X-Forwarded-Host: shop.example:1"], b"9443", None),
        (["X-Forwarded-Proto: wss"], b"443", None),
        (["X-Forwarded-For: 203.0.113.7:99, ::ffff:192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: s"],
         b"443", b"for=192.0.2.7;host=s;proto=https, for=127.0.0.2"),
        (['Forwarded: for=evil, for="[2001:db8::7]:4711";proto=https;host="shop.example:444"'], b"444",
         b'for=evil, for="[2001:db8::7]:4711";proto=https;host="shop.example:444", '
         b"for=127.0.0.2;host=inner;proto=http"),
    ],
)  # fmt: skip
def test_behind_a_trusted_proxy_it_is_that_of_the_url_which_it_was_asked_for(
    house: House, claims: list[str], port: bytes, element: bytes | None
) -> None:
    seen = house.seen(*claims, source=PROXY, host="inner")
    assert seen.values(b"x-forwarded-port") == [port]
    assert element is None or seen.values(b"forwarded") == [element]


def test_what_only_forwarded_states_is_written_into_the_other_fields_too(house: House) -> None:
    seen = house.seen('Forwarded: For="[2001:db8::7]:4711";proto=https;host=shop.example', source=PROXY, host="inner")
    assert seen.values(b"x-forwarded-for") == [b"2001:db8::7, 127.0.0.2"]
    assert seen.values(b"x-forwarded-proto") == [b"https"]
    assert seen.values(b"x-forwarded-host") == [b"shop.example"]


# Claims of strangers

DROPPED = [
    *(
        f"X-Forwarded-{what}"
        for what in ("User", "Email", "Groups", "Preferred-Username", "Access-Token", "Client-Cert", "Uri", "Method")
    ),
    *("X-Forwarded-Prefix", "x-forwarded-user", "X-FORWARDED-ANYTHING", "X-Forwarded-", "X-Forwarded", "Forwarded-For"),
    *("X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "X-Forwarded.For", "X_Real_IP", "x!forwarded!user"),
    *("Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP"),
    *("X-Original-URL", "X-Rewrite-URL", "X-Original-Host"),
]


@pytest.mark.parametrize("name", DROPPED)
def test_a_claim_of_a_stranger_does_not_arrive(house: House, name: str) -> None:
    seen = house.seen(f"{name}: stolen", "X-After: 1", f"{name.upper()}: stolen")
    assert b"stolen" not in seen.head
    assert seen.values(b"x-after") == [b"1"]


def test_names_that_are_configured_pass_from_strangers(house: House) -> None:
    seen = house.seen(
        "x-forwarded-tenant: acme", "CF-Connecting-IPv6: ::2", "X_Forwarded_Tenant: b", "X-Forwarded-B: c"
    )
    assert seen.values(b"x-forwarded-tenant") == [b"acme"]
    assert seen.values(b"cf-connecting-ipv6") == [b"::2"]
    assert seen.values(b"x-forwarded-b") == []


@pytest.mark.parametrize("name", [name for name in DROPPED if not set("_.!") & set(name)])
def test_the_same_claim_of_a_trusted_proxy_arrives(house: House, name: str) -> None:
    seen = house.seen(f"{name}: stated", source=PROXY)
    assert seen.values(name.encode()) == [b"stated"]


@pytest.mark.parametrize("name", ["X.Forwarded.User", "X_Forwarded_User"])
def test_no_proxy_passes_on_what_a_client_has_disguised(house: House, name: str) -> None:
    assert b"stolen" not in house.seen(f"{name}: stolen", source=PROXY).head


@pytest.mark.parametrize("name", ["Remote-User", "X-Auth-Request-User", "X-Forward", "X-Forwarde-User", "XForwarded-A"])
def test_other_fields_are_left_alone(house: House, name: str) -> None:
    assert house.seen(f"{name}: anna").values(name.encode()) == [b"anna"]


def test_no_trailer_carries_a_claim(house: House) -> None:
    bodies = house.backend.takes_the_body()
    with RawClient(house.port, source=PROXY) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-User: stolen\r\n"
            b"True-Client-IP: stolen\r\nX.Real.IP: stolen\r\nX-Sum: 1\r\n\r\n"
        )
        assert client.answer("POST").status == 200
    body = bodies.get(timeout=PATIENCE)
    assert b"stolen" not in body
    assert (b"X-Sum: 1" in body) is (house.kind == "own")


def test_no_upgrade_carries_a_claim(house: House) -> None:
    with RawClient(house.port) as client:
        client.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: any\r\n"
            b"X-Forwarded-User: stolen\r\n\r\n"
        )
    assert b"stolen" not in house.backend.request.head


def test_no_route_goes_by_a_claim_of_a_stranger(house: House) -> None:
    assert house.ask("X-Forwarded-Group: staff", target="/claim").status == 200
    assert house.ask("X-Forwarded-Group: staff", target="/claim", source=PROXY).status == 204


# The client's address


def test_a_client_of_a_dual_stack_listener_has_its_ipv4_address(house: House) -> None:
    target = next(_targets)
    seen = house.seen(target=target)
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert seen.values(b"forwarded") == [b"for=127.0.0.1;host=shop.example;proto=http"]
    assert house.logged(target) == "127.0.0.1"


def test_so_has_one_whose_request_is_refused(house: House) -> None:
    target = next(_targets)
    assert house.ask(target=target, host="a b").status == 400
    if house.kind == "own":
        assert '"::ffff:' not in house.log.read_text()


#: Spellings of 192.0.2.7, mapped into IPv6.
MAPPED = [
    *("::ffff:c000:207", "::FFFF:C000:207", "::ffff:c000:0207", "0:0:0:0:0:ffff:c000:207", "0::ffff:c000:207"),
    *("0000:0000:0000:0000:0000:ffff:c000:0207", "0:0:0:0:0:ffff:192.0.2.7", "::0:ffff:192.0.2.7"),
]


@pytest.mark.parametrize(
    ("chain", "client", "passed"),
    [
        ("192.0.2.7:5678", "192.0.2.7", "192.0.2.7:5678"),
        ("192.0.2.7:", "192.0.2.7", "192.0.2.7:"),
        ("[2001:db8::7]:443", "2001:db8::7", "[2001:db8::7]:443"),
        ("[2001:DB8:0::7]", "2001:db8::7", "[2001:DB8:0::7]"),
        ("2001:DB8:0:0:0:0:0:7", "2001:db8::7", "2001:DB8:0:0:0:0:0:7"),
        ("2001:db8:0:0:0:0:0:7:443", "2001:db8::7", "2001:db8:0:0:0:0:0:7:443"),
        ('"[2001:db8::7]:443"', "2001:db8::7", '"[2001:db8::7]:443"'),
        ("fe80::7%eth0", "fe80::7", "fe80::7%eth0"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::FFFF:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        *((mapped, "192.0.2.7", "192.0.2.7") for mapped in MAPPED),
        *((f"[{mapped}]:80", "192.0.2.7", "192.0.2.7:80") for mapped in MAPPED),
        ("[::ffff:c000:207]", "192.0.2.7", "192.0.2.7"),
        ('"[::ffff:c000:207]:80"', "192.0.2.7", '"192.0.2.7:80"'),
        ("::ffff:192.0.2.7:80", "192.0.2.7", "192.0.2.7:80"),
        ("0:0:0:0:0:ffff:c000:207:80", "192.0.2.7", "192.0.2.7:80"),
        ("::ffff:c000:207%eth0", "192.0.2.7", "192.0.2.7"),
        ("::ffff:0:c000:207", "::ffff:0:c000:207", "::ffff:0:c000:207"),
        ("192.0.2.7 ,\t::ffff:a00:1", "192.0.2.7", "192.0.2.7 ,\t10.0.0.1"),
        ("192.0.2.7, ::ffff:001.2.3.4, 10.0.0.1", "10.0.0.1", "192.0.2.7, ::ffff:001.2.3.4, 10.0.0.1"),
        *((node, "127.0.0.2", node) for node in ("001.2.3.4", "1.2.3.4;5", "1.2.3", "0x1.2.3.4", "localhost", "_")),
        ("192.0.2.7:1, 10.0.0.1:2, [2001:db8:ffff::1]:3", "192.0.2.7",
         "192.0.2.7:1, 10.0.0.1:2, [2001:db8:ffff::1]:3"),
        ("192.0.2.7, ::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7, 10.0.0.1"),
        ("unknown", "unknown", "unknown"),
        ("_hidden:_port", "_hidden", "_hidden:_port"),
        ("UNKNOWN:80", "unknown", "UNKNOWN:80"),
        (":80", "127.0.0.2", ":80"),
    ],
)  # fmt: skip
def test_what_a_trusted_proxy_names_is_an_address_without_its_port(
    house: House, chain: str, client: str, passed: str
) -> None:
    target = next(_targets)
    seen = house.seen(f"X-Forwarded-For: {chain}", source=PROXY, target=target)
    assert seen.values(b"x-forwarded-for") == [f"{passed}, 127.0.0.2".encode()]
    assert house.logged(target) == client


@pytest.mark.parametrize(
    ("node", "client", "passed"),
    [
        *((f'"[{mapped}]"', "192.0.2.7", "192.0.2.7") for mapped in MAPPED),
        ('"[::ffff:c000:207]:80"', "192.0.2.7", '"192.0.2.7:80"'),
        ("[::ffff:c000:207]:80", "192.0.2.7", '"192.0.2.7:80"'),
        ('"[2001:DB8::7]:80"', "2001:db8::7", '"[2001:DB8::7]:80"'),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("001.2.3.4", "127.0.0.2", "001.2.3.4"),
    ],
)
def test_a_node_of_forwarded_has_the_same_form(house: House, node: str, client: str, passed: str) -> None:
    target = next(_targets)
    line = f'for=evil, For={node};host="[::ffff:c000:207]";by="[::ffff:a00:1]";proto=https'
    seen = house.seen(f"Forwarded: {line}", source=PROXY, target=target, host="inner")
    assert house.logged(target) == client
    (got,) = seen.values(b"forwarded")
    assert got.decode() == (
        f'for=evil, For={passed};host="[::ffff:c000:207]";by=10.0.0.1;proto=https, for=127.0.0.2;host=inner;proto=http'
    )
    assert seen.values(b"x-forwarded-proto") == [b"https"]


@pytest.mark.parametrize("name", ["True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "x-original-for"])
def test_other_fields_with_addresses_have_it_too(house: House, name: str) -> None:
    seen = house.seen(f"{name}: ::FFFF:C000:207", source=PROXY)
    assert seen.values(name.lower().encode()) == [b"192.0.2.7"]


@pytest.mark.parametrize(
    "spellings",
    [
        ["198.51.100.1:1", "198.51.100.1:2", "::ffff:198.51.100.1", "[::FFFF:198.51.100.1]:3"],
        [f"[::ffff:c633:6402]:{port}" for port in (1, 2)] + ["198.51.100.2", "0:0:0:0:0:ffff:c633:6402"],
        ["[2001:db8:1::7]:1", "2001:DB8:1:0:0:0:0:7", "2001:db8:1::7", "2001:db8:1::8"],  # one /64
        ["_client:1", "_client:_x", "_client"],
    ],
)
def test_all_spellings_of_a_client_have_one_bucket(house: House, spellings: list[str]) -> None:
    asked = [house.ask(f"X-Forwarded-For: {one}", source=PROXY, target="/address").status for one in spellings]
    assert asked == [200] * BURST + [429] * (len(spellings) - BURST)
    other = house.ask(f"X-Forwarded-For: _{next(_targets)[1:]}", source=PROXY, target="/address")
    assert other.status == 200


# Keys that are issued

KEYS = [
    ("header", "/header", ["X-Api-Key: good"]),
    ("query", "/query?api_key=good", []),
    ("cookie", "/cookie", ["Cookie: session=good"]),
    ("credentials", "/credentials", ["Authorization: Bearer good"]),
]


def spent(house: House, target: str, lines: list[str]) -> None:
    """Use up the bucket of a key."""
    for _ in range(BURST + 1):
        status = house.ask(*lines, target=target).status
    assert status == 429


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Api-Key: good", "X-Api-Key: {}"],
        ["X-Api-Key: {}", "X-Api-Key: good"],
        ["X-Api-Key: good", "X-Api-Key:"],
        ["X-Api-Key:", "x-api-key:", "X-API-KEY:   good  "],
        ["X-Api-Key: good", "X-Api-Key: good"],
    ],
)
def test_lines_of_a_header_are_no_way_around_its_limit(house: House, lines: list[str]) -> None:
    if house.kind != "own" and len(lines) > 1:
        pytest.skip("WSGI joins the lines, and so does the backend see one value that is none")
    spent(house, "/header", ["X-Api-Key: good"])
    assert house.ask(*(line.format("junk") for line in lines), target="/header").status == 429


@pytest.mark.parametrize(
    "query",
    [
        *("api_key=g%6fod", "api_key=g%6Fod", "api_key=g%256fod", "%61pi_key=good", "api%5fkey=good", "api_key=good+"),
        *("api_key={}&api_key=good", "api_key=good&api_key={}", "api_key=&api_key=good", "a=1;api_key=good"),
        *("api_key=good;a=1", "api_key=%20good", "+api_key=good", "API_KEY=good", "api.key=good", "api_key[]=good"),
        *("api_key[0]=good", "api_key%00{}=good", "api_key=good%00{}", "&&api_key=good&&", "api_key={}&%61pi_key=good"),
    ],
)
def test_spellings_of_a_parameter_are_no_way_around_its_limit(house: House, query: str) -> None:
    spent(house, "/query?api_key=good", [])
    assert house.ask(target="/query?" + query.format("junk")).status == 429


@pytest.mark.parametrize(
    "cookies",
    [
        *(["session=junk; session=good"], ["session=good; session=junk"], ["session=junk", "session=good"]),
        *(['session="good"'], ["session = good"], ["a=1;session=good"], ["SESSION=good"], ["session=g%6fod"]),
        *(['session="g\\157od"'], ['session="go\\od"'], ['session="goodx'], ["session=; session=good"]),
        *(["a=1, session=good"], ["%73ession=good"], ["session=good;"], [";;session=good"], ["a=1", "session=good"]),
    ],
)
def test_spellings_of_a_cookie_are_no_way_around_its_limit(house: House, cookies: list[str]) -> None:
    spent(house, "/cookie", ["Cookie: session=good"])
    assert house.ask(*(f"Cookie: {line}" for line in cookies), target="/cookie").status == 429


@pytest.mark.parametrize("value", ["bearer good", "BEARER  good", "Bearer good "])
def test_spellings_of_credentials_are_no_way_around_their_limit(house: House, value: str) -> None:
    spent(house, "/credentials", ["Authorization: Bearer good"])
    assert house.ask(f"Authorization: {value}", target="/credentials").status == 429


@pytest.mark.parametrize("value", ["Basic YW5uYTpw", "basic  YW5uYTpw", "Basic YW5uYTpw=", "Basic YW5u YTpw"])
def test_so_with_a_password(house: House, value: str) -> None:
    spent(house, "/credentials", ["Authorization: Basic YW5uYTpw"])
    assert house.ask(f"Authorization: {value}", target="/credentials").status == 429


@pytest.mark.parametrize(("kind", "target", "lines"), KEYS)
def test_a_key_that_no_backend_sees_is_none(house: House, kind: str, target: str, lines: list[str]) -> None:
    if not lines:
        return
    spent(house, target, [])
    name = lines[0].partition(":")[0]
    assert house.ask(f"{name}: {next(_targets)}", f"Connection: {name}", target=target).status == 429


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("/header", [f"X-Api-Key: {number}" for number in range(5)]),
        ("/query?" + "&".join(f"api_key={number}" for number in range(5)), []),
        ("/cookie", ["Cookie: " + "; ".join(f"session={number}" for number in range(5))]),
    ],
)
def test_more_values_than_a_reader_could_mean_are_refused(house: House, target: str, lines: list[str]) -> None:
    if house.kind != "own" and len(lines) > 1:
        pytest.skip("WSGI joins the lines")
    answer = house.ask(*lines, target=target)
    assert answer.status == 400
    assert b"more than 4 values" in answer.body
    assert house.backend.requests == []


def test_other_keys_have_buckets_of_their_own(house: House) -> None:
    for _, target, lines in KEYS:
        spent(house, target, lines)
        others = [line.replace("good", f"other-{next(_targets)}") for line in lines]
        assert house.ask(*others, target=target.replace("good", f"other{next(_targets)[6:]}")).status == 200
