"""What a route matches, as it is configured: what is accepted, what is refused, and names."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from lbflask.config.route_match import MOST_NAMED, MatchConfig
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.route_match import RouteMatch
from tests.config.test_routes import complaint, config
from tests.support.changes import property_test

BACKENDS = 'bind = ["127.0.0.1:8080", "0.0.0.0:80"]\nbackends = ["http://a:1"]\n'


def match(**keys: Any) -> RouteMatch:
    return MatchConfig.model_validate(keys).to_model()


def refused(tmp_path: Path, text: str) -> str:
    return complaint(tmp_path, f'{BACKENDS}[[routes]]\nname = "r"\npool = "default"\nmatch = {{ {text} }}\n')


def test_every_key_reaches_the_core() -> None:
    made = match(
        host="a.example",
        path=["/api/", "/v%31"],
        suffix=".php",
        regex="^/v[0-9]",
        methods=["GET"],
        headers={"X-A": {"regex": "^1"}, "X-B": "2"},
        query={"q": True, "page": "1"},
        cookies={"beta": "yes"},
        client=["10.0.0.0/8", "::ffff:192.0.2.0/120"],
        scheme="https",
        listener=[":80", "[::1]:443", "unix:/run/a.sock"],
        **{"not": {"path": "/api/admin"}},
    )
    assert made == RouteMatch(
        ("a.example",),
        ("/api", "/v1"),
        frozenset({"GET"}),
        (("x-a", LinearExpression("^1")), ("x-b", "2")),
        (),
        (".php",),
        LinearExpression("^/v[0-9]"),
        (("page", "1"), ("q", None)),
        (("beta", "yes"),),
        (ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24")),
        "https",
        frozenset({":80", "[::1]:443", "unix:/run/a.sock"}),
        (RouteMatch(paths=("/api/admin",)),),
    )


def test_an_exact_path_keeps_its_slash() -> None:
    assert match(exact="/spaces/").exact == ("/spaces/",)
    assert match(exact=["/", "/%61"]).exact == ("/", "/a")
    assert match(path="/").paths == ("",)


def test_several_tables_may_be_left_out() -> None:
    assert match(**{"not": [{"methods": "GET"}, {"scheme": "http"}]}).excluded == (
        RouteMatch(methods=frozenset({"GET"})),
        RouteMatch(scheme="http"),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('path = "/api/*"', "routes[0].match.path[0] = '/api/*': is compared as it is, without wildcards: write /api,"),
        ('path = ["/", "/*"]', "routes[0].match.path[1] = '/*': is compared as it is, without wildcards: write /,"),
        ("path = '/api/[1-9]\\d*/'", "routes[0].match.path[0] = '/api/[1-9]\\\\d*/': is compared as it is; `regex` is"),
        (
            'path = "^/api"',
            "routes[0].match.path[0] = '^/api': is compared as it is; `regex` is for regular expressions",
        ),
        ('path = "~ ^/api"', "routes[0].match.path[0] = '~ ^/api': is compared as it is; `regex` is for"),
        ('path = "/api/.*"', "routes[0].match.path[0] = '/api/.*': is compared as it is; `regex` is for"),
        ('path = "api"', "routes[0].match.path[0] = 'api': must be a path that begins with /"),
        ('exact = "/a?b"', "routes[0].match.exact[0] = '/a?b': is a path without its query"),
        ('exact = ""', "routes[0].match.exact[0] = '': must be a path"),
        ('exact = "/a//b"', "routes[0].match.exact[0] = '/a//b': can be read in two ways"),
        (
            'exact = "/a", path = "/b"',
            "routes[0].match = {'exact': '/a', 'path': '/b'}: exact and path exclude each other",
        ),
        ('exact = "/a", suffix = "b"', "routes[0].match = {'exact': '/a', 'suffix': 'b'}: exact and suffix exclude"),
        ('exact = "/a", regex = "b"', "routes[0].match = {'exact': '/a', 'regex': 'b'}: exact and regex exclude"),
        (
            'suffix = "*.php"',
            "routes[0].match.suffix[0] = '*.php': is compared as it is, without wildcards: write .php,",
        ),
        ('suffix = ""', "routes[0].match.suffix[0] = '': must be the end of a path, such as .php"),
        ('suffix = ";x"', "routes[0].match.suffix[0] = ';x': can be read in two ways"),
        ("regex = '\\.php$'", ""),
        ('regex = "("', "routes[0].match.regex = '(': is no regular expression that RE2 takes: missing )"),
        ('regex = "(?=a)"', "routes[0].match.regex = '(?=a)': is no regular expression that RE2 takes: invalid perl"),
        ('regex = "é"', "routes[0].match.regex = 'é': must be of printable ASCII"),
        ('regex = "^api"', "routes[0].match: no request can match: regex '^api' does not begin with /"),
        ("regex = '^/search\\?q='", "routes[0].match: no request can match: regex '^/search\\\\?q=' has a ?"),
        ('path = "/a", not = { path = "/" }', "routes[0].match: no request can match: `not` has all requests"),
        ('host = "_"', "routes[0].match.host[0] = '_': leave host out for all names"),
        (
            "headers = { A = 1 }",
            "routes[0].match.headers.A = '***': must be the value as a string, true for any value, or",
        ),
        ('headers = { A = { regex = "[" } }', "routes[0].match.headers.A.regex = '***': is no regular expression"),
        ('headers = { Accept = { regex = "[" } }', "routes[0].match.headers.Accept.regex = "),
        ('cookies = { "a b" = true }', "routes[0].match.cookies.a b"),
        ('query = { "" = true }', "routes[0].match.query."),
        ('client = "10.0.0.1/8"', "routes[0].match.client[0] = '10.0.0.1/8': "),
        ('client = "web"', "routes[0].match.client[0]: 'web' does not"),
        ('scheme = "ws"', "routes[0].match.scheme = 'ws': "),
        ('listener = ":81"', "routes[0].match.listener[0]: ':81' is no listener; there are 127.0.0.1:8080, 0.0.0.0:80"),
        ('listener = "127.0.0.1:80"', "routes[0].match.listener[0]: '127.0.0.1:80' is no listener"),
        ('listener = "80"', "routes[0].match.listener[0]: '80' is no listener"),
        ('listener = ""', "routes[0].match.listener[0] = '': must be the name or the address of a listener, or :port"),
        ('not = { listener = ":82" }', "routes[0].match.not[0].listener[0]: ':82' is no listener"),
        ('not = { not = { path = "/a" } }', "there is no setting 'routes[0].match.not[0].not'"),
        ('not = { paths = "/a" }', "there is no setting 'routes[0].match.not[0].paths'"),
        ('not_ = { path = "/a" }', "there is no setting 'routes[0].match.not_'"),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(tmp_path: Path, text: str, told: str) -> None:
    if not told:
        config({"pool": "default", "match": {"regex": r"\.php$"}}, pools={})
        return
    message = refused(tmp_path, text)
    assert message.startswith(told), message
    assert message.endswith("(in the route 'r')") or "'r'" in message


@pytest.mark.parametrize(
    ("listener", "labels"),
    [
        ("web", {"web"}),
        (":80", {"web", "127.0.0.1:80"}),
        (["0.0.0.0:8080", "127.0.0.1:80"], {"0.0.0.0:8080", "127.0.0.1:80"}),
        ("192.0.2.1:80", {"web"}),
        ("unix:/run/a.sock", {"unix:/run/a.sock"}),
    ],
)
def test_a_listener_is_found_by_its_name_its_address_or_its_port(listener: Any, labels: set[str]) -> None:
    binds = ["127.0.0.1:80", "0.0.0.0:8080", "unix:/run/a.sock"]
    listeners = [{"bind": "192.0.2.1:80", "name": "web"}, *({"bind": bind} for bind in binds)]
    for match in ({"listener": listener}, {"not": {"listener": listener}}):
        made = config({"pool": "default", "match": match}, pools={}, listeners=listeners).routes[0].to_model().match
        assert (made.excluded[0] if "not" in match else made).listeners == labels


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({}, "/"),
        ({"path": "/api"}, "/api"),
        ({"path": ["/api", "/v1"]}, "/api,/v1"),
        ({"exact": "/spaces"}, "=/spaces"),
        ({"host": ["a.x", "*.b.x"], "path": "/api"}, "a.x,*.b.x/api"),
        ({"suffix": ".php"}, "/*.php"),
        ({"regex": "^/v[0-9] "}, "/~^/v[0-9]%20"),
        ({"path": "/a", "methods": ["GET", "PUT"], "scheme": "https"}, "/a[GET|PUT,https]"),
        ({"headers": {"A": "secret"}, "query": {"b": True}, "cookies": {"c": "1"}}, "/[header:A,query:b,cookie:c]"),
        ({"client": "10.0.0.0/8", "listener": ":80"}, "/[10.0.0.0/8,:80]"),
        ({"path": "/a", "not": [{"path": "/a/b"}, {"methods": "GET"}]}, "/a!/a/b!/[GET]"),
    ],
)
def test_a_route_without_a_name_has_one_by_its_match(keys: dict[str, Any], name: str) -> None:
    made = config({"pool": "default", "name": None, "match": keys}, pools={}, bind=["0.0.0.0:80"])
    assert made.routes[0].label == made.routes[0].to_model().name == name


def test_a_name_by_a_long_match_is_cut() -> None:
    paths = [f"/path-number-{number}" for number in range(20)]
    assert len(MatchConfig(path=tuple(paths)).derived_name()) == MOST_NAMED


def test_two_routes_that_would_have_the_same_name_need_names(tmp_path: Path) -> None:
    routes = "".join(f'[[routes]]\npool = "default"\nmatch = {{ headers = {{ A = "{value}" }} }}\n' for value in "12")
    assert complaint(tmp_path, BACKENDS + routes) == (
        "routes[1]: needs a name, since '/[header:A]', by its match, is the name of routes[0] already"
    )


def test_an_error_of_a_route_without_a_name_has_what_it_matches(tmp_path: Path) -> None:
    for key, shown in (('exact = "/a"', "/a"), ('path = ["/a", "/b"]', "/a,/b"), ('host = "a.x"', "a.x")):
        text = f'{BACKENDS}[[routes]]\nmatch = {{ {key} }}\npool = "x"\n'
        assert (
            complaint(tmp_path, text)
            == f"routes[0].pool: there is no pool 'x'; there are default (in the route '{shown}')"
        )


test_any_route_is_complete_or_rejected = property_test("route")
