"""Routes and error pages as they are configured: what is taken, and which key an error names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.error_pages import MOST_BYTES, OF_LOCAL_REPLIES
from lbflask.config.header_edits import HeaderEditsConfig, ResponseEditsConfig
from lbflask.config.load import ConfigError, load
from lbflask.config.routes import (
    MatchConfig,
    MirrorConfig,
    RedirectConfig,
    RespondConfig,
    RouteConfig,
    models_of,
)
from lbflask.config.schema import Config
from lbflask.config.template import tables_within
from lbflask.config.traffic import TrafficConfig
from lbflask.core import routing
from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect
from lbflask.core.http.header_edits import UNTOUCHABLE
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.rewrites import ExpressionRewrite, PrefixRewrite
from lbflask.core.linear_expression import LinearExpression
from tests.support.changes import property_test
from tests.support.pool_routes import text_with_routes, with_routes

POOLS = 'backends = ["http://a:1"]\n[pools.canary]\nbackends = ["http://b:1"]\n'


def config(*routes: dict[str, Any], **settings: Any) -> Config:
    pools = {"canary": {"backends": ["http://b:1"]}} if routes else {}
    settings = {"backends": ["http://a:1"], "pools": pools, **settings}
    named = [{"name": f"r{n}", **r} for n, r in enumerate(routes)]
    other = (
        [{"name": "canary", "match": {"host": "canary.example"}, "pool": "canary"}]
        if "canary" in settings["pools"]
        else []
    )
    return Config.model_validate({**settings, "routes": [*named, *other] if routes else []})


def model(**route: Any) -> routing.Route:
    made, _ = config(route).routes
    (found,) = made.to_models()
    return found


def complaint(tmp_path: Path, text: str) -> str:
    """The one line about a file, without its name and the number of the line."""
    path = tmp_path / "lbflask.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load({"LBFLASK_CONFIG": str(path)})
    place, told = str(error.value).split(": ", 1)
    assert re.fullmatch(re.escape(str(path)) + r"(:\d+)?", place)
    assert "\n" not in told
    return told.replace(f"{tmp_path}/", "")  # the directory that relative paths start from


def test_there_are_no_routes_unless_some_are_configured() -> None:
    assert config().routes == ()


def test_a_route_with_all_that_it_can_have_reaches_the_core() -> None:
    made = model(
        match={
            "host": ["Shop.Example.", "*.Example.com", "[0:0::1]"],
            "path": "/a%7Epi/",
            "methods": "GET, HEAD",
            "headers": {"X-B": "1", "X-A": True},
        },
        split={"default": 95, "canary": 5},
        split_by="cookie:session",
        replace_prefix="/v2/",
        mirror={"pool": "canary", "percent": 10},
    )
    assert made == routing.Route(
        "r0",
        routing.RouteMatch(
            ("shop.example", "*.example.com", "[::1]"),
            ("/a~pi",),
            frozenset({"GET", "HEAD"}),
            (("x-a", None), ("x-b", "1")),
        ),
        {"default": 95.0, "canary": 5.0},
        RequestKey("cookie", "session"),
        rewrite=PrefixRewrite(1, "/v2"),
        mirror=routing.MirrorTarget("canary", 10.0),
    )


def test_a_route_with_nothing_but_a_pool_takes_all() -> None:
    assert model(pool="canary") == routing.Route("r0", routing.RouteMatch(), {"canary": 100.0})
    assert model(pool="canary", match={"path": "/"}).match.paths == ("",)


def test_a_prefix_may_be_stripped() -> None:
    assert model(pool="canary", match={"path": "/a"}, strip_prefix=True).rewrite == PrefixRewrite(1, "")


def test_an_answer_of_our_own(tmp_path: Path) -> None:
    page = tmp_path / "soon.html"
    page.write_bytes(b"<p>soon")
    text = "text/plain; charset=utf-8"
    assert model(respond={"body": "é"}).direct == DirectResponse(503, ErrorPage(text, "é".encode()))
    assert model(respond={"status": 204}).direct == DirectResponse(204, ErrorPage(text, b""))
    assert model(respond={"file": str(page)}).direct == DirectResponse(
        503, ErrorPage("text/html; charset=utf-8", b"<p>soon")
    )
    given = {"file": str(page), "content_type": "text/x"}
    assert model(respond=given).direct == DirectResponse(503, ErrorPage("text/x", b"<p>soon"))
    assert model(redirect={"to": "https://a{path}"}).direct == Redirect(308, "https://a{path}")


@pytest.mark.parametrize("to", ["http://a", "https://a:1/x?y", "https://{host}{path}{query}", "/", "/x", "/x{path}"])
def test_a_redirection_leads_to_a_url_or_a_path(to: str) -> None:
    assert model(redirect={"to": to}, match={"exact": "/from"}).direct == Redirect(308, to)
    assert model(redirect=to, match={"exact": "/from"}).direct == Redirect(308, to)


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ('name = "a b"\npool = "canary"', "routes[0].name = 'a b': "),
        ('name = "a"\npol = "canary"', "there is no setting 'routes[0].pol' (its value is 'canary')"),
        ('name = "a"', "routes[0]: 'a' has no action for its requests: one of pool, split, respond, redirect"),
        (
            'name = "a"\npool = "canary"\nredirect = { to = "/" }',
            "routes[0]: 'a' has pool and redirect, of which one of pool, split, respond, redirect, files must be set",
        ),
        ('name = "a"\npool = "x"', "routes[0].pool: there is no pool 'x'"),
        ('name = "a"\nsplit = { canary = 99 }', "routes[0].split: adds up to 99, and should be 100"),
        ('name = "a"\nsplit = { canary = 101 }', "routes[0].split.canary = 101: "),
        ('name = "a"\nsplit = { canary = -1, default = 101 }', "routes[0].split.canary = -1: "),
        ('name = "a"\nsplit = { canary = 50, x = 50 }', "routes[0].split: there is no pool 'x'"),
        ('name = "a"\nsplit = { canary = 100 }\nsplit_by = "ip"', "routes[0].split_by = 'ip': must be client, uri,"),
        ('name = "a"\npool = "canary"\nsplit_by = "uri"', "routes[0].split_by: a route with 'pool' does not use it"),
        (
            'name = "a"\nrespond = {}\nmirror = { pool = "canary" }',
            "routes[0].mirror: a route with 'respond' does not use",
        ),
        (
            'name = "a"\nredirect = { to = "/" }\nrequest_headers = { remove = "A" }',
            "routes[0].request_headers: a route",
        ),
        (
            'name = "a"\nrespond = {}\nreplace_prefix = "/x"',
            "routes[0].replace_prefix: a route with 'respond' does not use",
        ),
        ('name = "a"\npool = "canary"\nmirror = { pool = "x" }', "routes[0].mirror.pool: there is no pool 'x'"),
        ('name = "a"\npool = "canary"\nmirror = { pool = "canary", percent = 0 }', "routes[0].mirror.percent = 0: "),
        (
            'name = "a"\npool = "canary"\nmirror = { pool = "canary", percent = 101 }',
            "routes[0].mirror.percent = 101: ",
        ),
        ('name = "a"\npool = "canary"\nmirror = {}', "routes[0].mirror.pool: is missing"),
        ('name = "a"\npool = "canary"\nstrip_prefix = true', "routes[0].strip_prefix: there is no match.path"),
        (
            'name = "a"\npool = "canary"\nmatch = { path = "/a" }\nstrip_prefix = true\nreplace_prefix = "/b"',
            "routes[0].strip_prefix: there is replace_prefix too",
        ),
        ('name = "a"\npool = "canary"\nreplace_prefix = "b"', "routes[0].replace_prefix = 'b': must be a path"),
        ('name = "a"\nrespond = { status = 600 }', "routes[0].respond.status = 600: "),
        ('name = "a"\nrespond = { status = 199 }', "routes[0].respond.status = 199: "),
        ('name = "a"\nrespond = { status = 304, body = "x" }', "routes[0].respond.status: 304 has no body"),
        ('name = "a"\nrespond = { body = "x", file = "y.html" }', "routes[0].respond.file: there is a body too"),
        ('name = "a"\nrespond = { file = "none.html" }', "routes[0].respond.file: 'none.html' cannot be read: No such"),
        ('name = "a"\nrespond = { file = "page" }', "routes[0].respond.file: 'page': its name implies no content type"),
        ('name = "a"\nrespond = { content_type = "a\\nb" }', "routes[0].respond.content_type = "),
        ('name = "a"\nredirect = {}', "routes[0].redirect.to: is missing"),
        ('name = "a"\nredirect = { to = "/", status = 300 }', "routes[0].redirect.status = 300: "),
        (
            'name = "a"\nredirect = { to = "/{port}" }',
            "routes[0].redirect.to = '/{port}': there is no {port}: there are {client}, {scheme}, {host},",
        ),
        ('name = "a"\npool = "canary"\nmatch = { host = "*" }', "routes[0].match.host[0] = '*': leave host out"),
        ('name = "a"\npool = "canary"\nmatch = { host = "a:80" }', "routes[0].match.host[0] = 'a:80': must be a name"),
        ('name = "a"\npool = "canary"\nmatch = { host = ["a", "b/c"] }', "routes[0].match.host[1] = 'b/c': must be"),
        ('name = "a"\npool = "canary"\nmatch = { host = "a.*.b" }', "routes[0].match.host[0] = 'a.*.b': must be"),
        ('name = "a"\npool = "canary"\nmatch = { methods = "A B" }', "routes[0].match.methods[0] = 'A B': must be"),
        (
            'name = "a"\npool = "canary"\nmatch = { methods = "CONNECT" }',
            "routes[0].match.methods[0] = 'CONNECT': must",
        ),
        ('name = "a"\npool = "canary"\nmatch = { headers = { Host = "a" } }', "routes[0].match.headers.Host"),
        ('name = "a"\npool = "canary"\nmatch = { headers = { "A B" = "a" } }', "routes[0].match.headers.A B"),
        (
            'name = "a"\npool = "canary"\nmatch = { headers = { A = false } }',
            "routes[0].match.headers.A = False: must be",
        ),
        ('name = "a"\npool = "canary"\nmatch = { port = 80 }', "there is no setting 'routes[0].match.port'"),
        (
            'name = "a"\npool = "canary"\nrequest_headers = { set = { A = "b\\r\\nc" } }',
            "routes[0].request_headers.set.A = ",
        ),
        (
            'name = "a"\npool = "canary"\nrequest_headers = { add = { Accept = " b" } }',
            "routes[0].request_headers.add.Accept = ' b'",
        ),
        (
            'name = "a"\npool = "canary"\nrequest_headers = { remove = "A:" }',
            "routes[0].request_headers.remove[0] = 'A:'",
        ),
        (
            'name = "a"\npool = "canary"\nresponse_headers = { set = { A = "1" }, remove = "a" }',
            "routes[0].response_headers.set: 'A' is in remove already",
        ),
        (
            'name = "a"\npool = "canary"\nresponse_headers = { set = { A = "1", a = "2" } }',
            "routes[0].response_headers.set: 'a' is in set already",
        ),
        (
            'name = "a"\npool = "canary"\n[[routes]]\nname = "a"\npool = "default"\nmatch = { path = "/" }',
            "routes[1].name: 'a' is the name of routes[0] already",
        ),
        (
            'name = "a"\npool = "canary"\n[[routes]]\nname = "b"\npool = "default"\nmatch = { path = "/" }',
            "routes[1].match: no request reaches 'b', since 'a' (routes[0]) takes all of them",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, route: str, told: str) -> None:
    assert complaint(tmp_path, f"{POOLS}[[routes]]\n{route}\n").startswith(told)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "/a b",
        "/a?b",
        "/a#b",
        "/é",
        "//a",
        "/a//b",
        "/a/../b",
        "/.",
        "/a/..",
        "/a;b",
        "/a\\b",
        "/%2F",
        "/%5c",
        "/a%3B",
        "/%2e/a",
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_no_prefix(path: str) -> None:
    with pytest.raises(ValueError, match=r"routes\.0\.match\.path"):
        config({"pool": "canary", "match": {"path": path}})


@pytest.mark.parametrize(
    "to",
    [
        "x",
        "//evil.example",
        "/\\evil.example",
        "/{path}",
        "{path}",
        "https://",
        "ftp://a",
        "https://a b",
        "https:///x",
        "javascript:x",
    ],
)
def test_no_redirection_leads_where_the_client_chooses(to: str) -> None:
    with pytest.raises(ValueError, match=r"redirect\.to"):
        config({"redirect": {"to": to}})


@pytest.mark.parametrize("name", sorted(UNTOUCHABLE))
@pytest.mark.parametrize("table", ["request_headers", "response_headers"])
@pytest.mark.parametrize("key", ["set", "add", "remove"])
def test_no_route_changes_what_frames_a_message(name: str, table: str, key: str) -> None:
    given = [name.title()] if key == "remove" else {name.title(): "1"}
    with pytest.raises(ValueError, match="may not be changed"):
        config({"pool": "canary", table: {key: given}})


def test_a_secret_is_not_told_with_a_mistake(tmp_path: Path) -> None:
    headers = '[routes.request_headers]\nset = { Authorization = "hunter2 " }\n'
    text = f'{POOLS}[[routes]]\nname = "a"\npool = "canary"\n{headers}'
    told = "routes[0].request_headers.set.Authorization = '***': must be of printable ASCII"
    assert complaint(tmp_path, text).startswith(told)


def test_routes_stand_in_the_file_only(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(text_with_routes(POOLS))
    with pytest.raises(ConfigError, match="LBFLASK_ROUTES: routes = 'x': "):
        load({"LBFLASK_CONFIG": str(path), "LBFLASK_ROUTES": "x"})


def test_a_route_may_lead_to_the_default_pool_only_if_there_is_one(tmp_path: Path) -> None:
    text = '[pools.a]\nbackends = ["http://a:1"]\n[[routes]]\nname = "r"\npool = "default"\n'
    assert complaint(tmp_path, text) == "routes[0].pool: there is no pool 'default'; there are a (in the route 'r')"


def test_every_key_of_a_route_is_documented() -> None:
    for kind in (
        RouteConfig,
        MatchConfig,
        RespondConfig,
        RedirectConfig,
        HeaderEditsConfig,
        ResponseEditsConfig,
        MirrorConfig,
    ):
        inherited = tables_within(TrafficConfig) if kind is RouteConfig else {}  # described at the top level
        assert kind.model_fields.keys() - inherited.keys() == attribute_docstrings(kind).keys()


# Error pages


def test_error_pages_are_read_with_the_configuration(tmp_path: Path) -> None:
    page = tmp_path / "down.html"
    page.write_bytes(b"<h1>\xff")
    made = config(error_pages={503: str(page)})
    page.unlink()
    assert made.pages == {503: ErrorPage("text/html; charset=utf-8", b"<h1>\xff")}


def test_a_pool_has_error_pages_of_its_own(tmp_path: Path) -> None:
    page = tmp_path / "down.json"
    page.write_bytes(b"{}")
    made = config({"pool": "canary"}, pools={"canary": {"backends": ["http://b:1"], "error_pages": {"502": str(page)}}})
    assert made.pools["canary"].pages == {502: ErrorPage("application/json", b"{}")}
    assert made.pages == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"error_pages": {410: "PAGE"}}, "error_pages.410"),
        ({"error_pages": {503: "PAGE"}, "pools": {"web": {"error_pages": {418: "PAGE"}}}}, "pools.web.error_pages.418"),
        ({"error_pages": {410: "PAGE"}, "error_pages_for": "all"}, None),
        ({"error_pages": {410: "PAGE"}, "pools": {"web": {"error_pages_for": "all"}}}, None),
        ({"error_pages": dict.fromkeys(OF_LOCAL_REPLIES, "PAGE")}, None),
    ],
)
def test_a_page_that_no_response_gets_is_refused(settings: dict[str, Any], named: str | None, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("sorry")

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(inner) for key, inner in value.items()}
        return str(page) if value == "PAGE" else value

    whole = {"backends": ["http://a:1"], **placed(settings)}
    for pool in whole.get("pools", {}).values():
        pool["backends"] = ["http://b:1"]
    whole = with_routes(whole)
    if named is None:
        assert Config.model_validate(whole)
        return
    with pytest.raises(ValidationError, match=rf"{re.escape(named)}: no response of lbflask itself"):
        Config.model_validate(whole)


def test_the_environment_names_error_pages_in_one_string(tmp_path: Path) -> None:
    page = tmp_path / "down.txt"
    page.write_bytes(b"down")
    path = tmp_path / "lbflask.toml"
    path.write_text(text_with_routes(POOLS))
    made = load({"LBFLASK_CONFIG": str(path), "LBFLASK_ERROR_PAGES": f"502={page}, 503={page}"})
    assert sorted(made.pages) == [502, 503]


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        ('{ 503 = "none.html" }', "error_pages.503: 'none.html' cannot be read: No such file or directory"),
        ('{ 503 = "page.xyz" }', "error_pages.503: 'page.xyz': its name implies no content type"),
        ('{ 200 = "page.html" }', "error_pages.200"),
        ('{ down = "page.html" }', "error_pages.down"),
        ("{ 503 = 1 }", "error_pages.503 = 1: "),
    ],
)
def test_a_bad_error_page_is_told_with_its_key(tmp_path: Path, pages: str, told: str) -> None:
    assert complaint(tmp_path, f'error_pages = {pages}\nbackends = ["http://a:1"]\n').startswith(told)


def test_an_error_page_of_a_pool_is_told_with_its_pool(tmp_path: Path) -> None:
    text = '[pools.a]\nbackends = ["http://a:1"]\nerror_pages = { 503 = "none.html" }\n'
    assert complaint(tmp_path, text).startswith("pools.a.error_pages.503: 'none.html' cannot be read")


def test_a_page_that_is_too_large_to_keep_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "down.html"
    page.write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match="has more than"):
        config(error_pages={503: str(page)})


test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")
test_any_route_is_complete_or_rejected = property_test("route")


# Names, redirects, rewrites and what serves nothing


def routed(text: str) -> str:
    return f'backends = ["http://a:1"]\n[[routes]]\n{text}\n'


def test_a_route_needs_no_name() -> None:
    assert [route.label for route in config({"name": None, "pool": "canary", "match": {"path": "/a"}}).routes] == [
        "/a",
        "canary",
    ]


def test_a_redirect_to_https_keeps_host_path_and_query() -> None:
    for redirect in ("https", {"to": "https"}):
        made = model(redirect=redirect, match={"scheme": "http"})
        assert made.direct == Redirect(308, "https://{host}{path}{query}")


def test_a_slash_is_added_to_one_path_only() -> None:
    made = model(redirect={"to": "/spaces/", "status": 301}, match={"exact": "/spaces"})
    assert (made.direct, made.match.exact) == (Redirect(301, "/spaces/"), ("/spaces",))


def test_prefixes_of_several_lengths_are_stripped_each_by_its_length() -> None:
    made = config({"pool": "canary", "match": {"path": ["/a", "/b/c", "/d"]}, "strip_prefix": True}).routes[0]
    assert [(one.name, one.match.paths, one.rewrite) for one in made.to_models()] == [
        ("r0", ("/a", "/d"), PrefixRewrite(1, "")),
        ("r0", ("/b/c",), PrefixRewrite(2, "")),
    ]
    assert [one.name for one in models_of(config({"pool": "canary", "match": {"path": ["/a", "/b/c"]}}).routes)] == [
        "r0",
        "canary",
    ]
    files = config({"files": "/srv", "match": {"path": ["/a", "/b/c"]}}).routes[0].to_models()
    assert [(one.match.paths, one.rewrite) for one in files] == [(("/a",), None), (("/b/c",), None)]
    exact = model(pool="canary", match={"exact": "/a/b"}, replace_prefix="/")
    assert (exact.match.exact, exact.rewrite) == (("/a/b",), PrefixRewrite(2, ""))


def test_a_path_is_rewritten_by_an_expression() -> None:
    made = model(pool="canary", match={"path": "/old"}, rewrite={"regex": "^/old/(.*)", "to": "/new/{1}"})
    assert made.rewrite == ExpressionRewrite(LinearExpression("^/old/(.*)"), "/new/{1}")


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (
            'redirect = "/a"\nmatch = { path = "/a" }',
            "routes[0].redirect.to: '/a' takes '/a' too, and would redirect it",
        ),
        (
            'redirect = "/spaces/"\nmatch = { path = "/spaces" }',
            "routes[0].redirect.to: '/spaces' takes '/spaces/' too",
        ),
        ('redirect = "/a"', "routes[0].redirect.to: '/' takes '/a' too"),
        ("redirect = 1", "routes[0].redirect = 1: must be a table"),
        ('redirect = "ftp://a"', "routes[0].redirect.to = 'ftp://a': must begin with https://"),
        (
            "respond = { status = 301 }",
            "routes[0].respond.status: 301 needs a Location: redirect = { to = …, status = 301 }",
        ),
        (
            'pool = "default"\nstrip_prefix = "/a"',
            "routes[0].strip_prefix = '/a': must be true or false: what is removed",
        ),
        (
            'pool = "default"\nstrip_prefix = true\nmatch = { path = ["/"] }',
            "routes[0].strip_prefix: there is no match.path",
        ),
        (
            'pool = "default"\nreplace_prefix = "/a"\nrewrite = { regex = "a", to = "/b" }',
            "routes[0].rewrite: there is replace_prefix too, and only one of them can be set",
        ),
        (
            'pool = "default"\nmatch = { path = "/a" }\nstrip_prefix = true\nrewrite = { regex = "a", to = "/b" }',
            "routes[0].rewrite: there is strip_prefix too",
        ),
        (
            'respond = {}\nrewrite = { regex = "a", to = "/b" }',
            "routes[0].rewrite: a route with 'respond' does not use it",
        ),
        (
            'pool = "default"\nrewrite = { regex = "(", to = "/b" }',
            "routes[0].rewrite.regex = '(': is no regular expression",
        ),
        ('pool = "default"\nrewrite = { regex = "a", to = "b" }', "routes[0].rewrite.to = 'b': must be a path"),
        ('pool = "default"\nrewrite = { regex = "a", to = "/b?c" }', "routes[0].rewrite.to = '/b?c': must be a path"),
        (
            'pool = "default"\nrewrite = { regex = "(a)", to = "/$1" }',
            "routes[0].rewrite.to = '/$1': has groups in braces",
        ),
        ('pool = "default"\nrewrite = { regex = "(a)", to = "/{2}" }', "routes[0].rewrite = {"),
        (
            'pool = "default"\nmatch = { path = ["/b", "/a"] }\n[[routes]]\nname = "a"\npool = "default"\n'
            'match = { path = "/a/" }',
            "routes[1].match: no request reaches 'a', since '/b,/a' (routes[0]) takes all of them",
        ),
        (
            'pool = "default"\nmatch = { path = "/a" }\n[[routes]]\npool = "default"\nmatch = { path = ["/b", "/a"] }',
            "routes[1].match: no request reaches '/b,/a' by /a, since '/a' (routes[0]) takes all of them",
        ),
        (
            'pool = "default"\nmatch = { host = "x" }\n[[routes]]\npool = "default"\nmatch = { host = ["y", "x"] }',
            "routes[1].match: no request reaches 'y,x/' by x/, since 'x/' (routes[0]) takes all of them",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(tmp_path: Path, route: str, told: str) -> None:
    message = complaint(tmp_path, routed(route))
    assert message.startswith(told), message


def test_a_redirect_may_lead_to_a_path_of_the_balancer_itself_unless_a_route_names_it(tmp_path: Path) -> None:
    config({"redirect": "/health"})
    text = routed('name = "r"\nredirect = "/health"\nmatch = { path = ["/", "/health"] }')
    assert complaint(tmp_path, text).startswith("routes[0].redirect.to: 'r' takes '/health' too")


def test_routes_by_name_are_told_to_be_a_list(tmp_path: Path) -> None:
    message = complaint(tmp_path, 'backends = ["http://a:1"]\n[routes.api]\npool = "default"\n')
    assert message == "routes = {'api': {'pool': ***}}: routes are a list: write [[routes]], and name = 'api' in it"


def test_a_pool_that_no_route_names_is_an_error(tmp_path: Path) -> None:
    text = POOLS + '[[routes]]\nname = "a"\npool = "default"\n'
    assert complaint(tmp_path, text) == (
        "pools.canary: no route names it: add [[routes]] with a match and pool = 'canary', or remove it"
    )
    assert "canary" in config({"pool": "default", "mirror": {"pool": "canary"}}).pools
