"""Settings: types of single values, backends, sources, rates, tokens, and whole files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any

import httpx
from pydantic import Field, TypeAdapter, ValidationError

from fuzz.properties.files import written
from lbflask.config import (
    field_types,
    header_edits,
    health,
    load,
    paths,
    redaction,
    route_match,
    routes,
    sticky,
    units,
)
from lbflask.config.admin import read_tokens
from lbflask.config.backends import BackendConfig
from lbflask.config.certificates import expiry_text
from lbflask.config.discovery import Where, server_address
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.toml_location import line_of
from lbflask.core import access_list, bans, x509
from lbflask.core.admin_tokens import AdminToken, masked
from lbflask.core.checks import StatusSet
from lbflask.core.rate_limit import LONGEST, MOST_TOKENS
from lbflask.store import records, redis_client

#: Types whose values are texts with rules of their own.
TYPES: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind)
    for name, kind in {
        "listen address": field_types.ListenAddress,
        "optional listen address": field_types.OptionalListenAddress,
        "store": field_types.RedisURL,
        "namespace": field_types.Namespace,
        "via": field_types.ViaName,
        "claim": field_types.ClaimName,
        "hash key": field_types.HashKeyName,
        "rate limit": field_types.RateLimitName,
        "pool": field_types.PoolName,
        "path of a URL": field_types.UrlPath,
        "log format": field_types.LogFormat,
        "network": field_types.Network,
        "statuses": field_types.Statuses,
        "networks": field_types.Listed[field_types.Network],
        "seconds": field_types.Seconds,
        "size": Annotated[int, Field(ge=0)],
        "prefix": route_match.PathPrefix,
        "method": route_match.Method,
        "name of a field": header_edits.EditedName,
        "bytes": units.Bytes,
        "value of a field": header_edits.RequestValue,
        "header of a check": health.Header,
        "path of a check": health.CheckPath,
        "host of a check": health.CheckHost,
        "cookie": sticky.CookieName,
        "path of a cookie": sticky.CookiePath,
        "domain of a cookie": sticky.CookieDomain,
    }.items()
}
_ONE_LINE = re.compile(r"[^\n]+").fullmatch


def setting(text: str) -> None:
    """A value of each type: rejected, or accepted and then accepted again as the same value."""
    for name, kind in TYPES.items():
        try:
            value = kind.validate_python(text)
        except ValidationError:
            continue
        assert kind.validate_python(value) == value
        if name == "listen address":
            address = field_types.socket_address(value)
            assert isinstance(address, str) or 0 <= address[1] <= 65_535
            field_types.is_loopback(value)
            assert field_types.same_listener(value, value)
        elif name == "store":
            _store(value.reveal())
    redaction.without_secrets(text, field_types.RedisURL)
    paths.absolute_path(text)
    paths.files_of_store(text)


def _store(url: str) -> None:
    try:
        client = redis_client.connect(url)
    except ValueError as error:
        assert str(error)
    else:
        client.close()


def backend(text: str) -> None:
    """The URL of a backend: rejected, or a backend whose own URL and whose record are those of the same backend."""
    try:
        found = BackendConfig.model_validate(text).to_model()
    except ValidationError:
        return
    assert BackendConfig.model_validate(found.url).to_model() == found
    assert records.parse_backends(records.dump_backends([found])) == ((found,), 0)
    if found.scheme == "unix":
        assert found.path.startswith("/")
        return
    assert 0 < found.port <= 65_535
    assert found.authority.isascii()
    try:
        url = httpx.URL(found.url)
    except httpx.InvalidURL:
        return  # a host that is no name of IDNA, or an address in another form
    assert (url.port or {"http": 80, "https": 443}[found.scheme]) == found.port


def source(text: str) -> None:
    """A source of backends, or the address of a name server: rejected, or what its parts make again."""
    try:
        where = Where.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        mark = "" if where.kind == "file" else "//"
        port = f":{where.port}" if where.port else ""
        assert Where.parse(f"{where.kind}:{mark}{where.name}{port}") == where
    try:
        address, port_number = server_address(text)
    except ValueError as error:
        assert str(error)
    else:
        if "]" in address:
            return  # in a zone, which has no rules
        shown = f"[{address}]:{port_number}" if ":" in address else f"{address}:{port_number}"
        assert server_address(shown) == (address, port_number)


def networks(text: str) -> None:
    """Lines of networks: each is named as bad, or its first and its last address are refused where it is denied."""
    lines, bad = text.split("\n"), set[int]()
    try:
        found = access_list.network_list(lines)
    except access_list.BadNetworks as error:
        assert all(reason and _ONE_LINE(reason) for _, reason in error.errors)
        bad = {number for number, _ in error.errors}
        found = access_list.network_list(line for number, line in enumerate(lines, 1) if number not in bad)
    denied = access_list.AccessList([], [found])
    for number, line in enumerate(lines, 1):
        name = re.split("[#;]", line)[0].strip()
        if number not in bad and name not in ("", access_list.ALL, access_list.UNIX):
            network = ip_network(name)
            assert not denied.admits(str(network[0]))
            assert not denied.admits(str(network[-1]))


def ban(text: str) -> None:
    """A network to ban: rejected, or in a form that is its own and that covers its first and its last address."""
    try:
        found = bans.banned_network(text)
    except ValueError as error:
        assert _ONE_LINE(str(error))
        return
    assert bans.banned_network(found) == found
    listed, network = bans.BanList(), ip_network(found)
    listed.put(bans.Ban(found, 2.0), 1.0)
    assert listed.find(str(network[0]), 1.0) is not None
    assert listed.find(str(network[-1]), 1.0) is not None
    assert listed.find(str(network[0]), 2.0) is None


def rate(text: str) -> None:
    """A rate: rejected, or requests in seconds within the bounds."""
    try:
        limit = RateLimitConfig.model_validate({"rate": text}).to_model("rate")
    except ValidationError:
        return
    assert 0 < limit.count <= MOST_TOKENS
    assert 0 < limit.period <= LONGEST
    assert limit.burst >= 1
    form = re.fullmatch(r"\s*([0-9]{1,6}) */ *(s|min|h|day)\s*", text)
    if form:
        assert (limit.count, limit.period) == (int(form[1]), {"s": 1, "min": 60, "h": 3600, "day": 86_400}[form[2]])


def statuses(text: str) -> None:
    """Statuses: rejected, or a set that is the same when it is written again."""
    try:
        found = StatusSet.parse(text)
    except ValueError as error:
        assert str(error)
        return
    assert StatusSet.parse(str(found)) == found
    assert 200 in found or "200" not in re.split("[^0-9]+", text)


def tokens(text: str) -> None:
    """Tokens, one a line: rejected without the secret, or tokens whose secrets are masked."""
    for line in text.split("\n"):
        secret = line.rpartition(":")[2]
        try:
            AdminToken.parse(line)
        except ValueError as error:
            assert len(secret) < 16 or secret not in str(error)
        assert len(secret) < 16 or secret not in masked(line)
    path = written(text.encode("utf-8", "surrogateescape"), "tokens")
    try:
        found = read_tokens(path, "admin.token_file")
    except ValueError as error:
        assert str(error).startswith("admin.token_file")
    else:
        assert all(len(token.digest) == 32 for token in found)


def configuration(data: bytes) -> None:
    """A file: rejected by one line, which names a line of the file; or each key of it is found at a line."""
    path = written(data, "lbflask.toml")
    try:
        load.load({"LBFLASK_CONFIG": str(path)})
    except load.ConfigError as error:
        _check_message(str(error), str(path), data)
    try:
        text = data.decode()
        values = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    lines = text.split("\n")
    for steps in _keys(values):
        line = line_of(text, steps)
        assert 0 <= line <= len(lines)
        assert not line or not _has(_values_of("\n".join(lines[: line - 1])), steps)


def _check_message(message: str, path: str, data: bytes) -> None:
    assert _ONE_LINE(message)
    place = re.match(re.escape(path) + r":([0-9]+): ", message)
    assert place is None or 1 <= int(place[1]) <= data.count(b"\n") + 1


def _keys(values: dict[str, Any], most: int = 8) -> Iterator[list[str]]:
    """Steps to some of the keys: those of the table, and of the tables in it."""
    for key, value in list(values.items())[:most]:
        yield [key]
        if isinstance(value, dict):
            yield from ([key, inner] for inner in list(value)[:most])


def _values_of(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def _has(values: Any, steps: list[str]) -> bool:
    for step in steps:
        if not isinstance(values, dict) or step not in values:
            return False
        values = values[step]
    return True


def variable(text: str) -> None:
    """A variable and its value, `NAME=value`: rejected by one line, or a part of the configuration."""
    name, _, value = text.partition("=")
    path = written(b"", "empty.toml")
    environ = {"LBFLASK_CONFIG": str(path), "LBFLASK_BACKENDS": "http://127.0.0.1:1", f"LBFLASK_{name}": value}
    if name == "CONFIG":
        return
    try:
        load.load(environ)
    except load.ConfigError as error:
        assert _ONE_LINE(str(error))
    load.admin_bind(environ)
    assert load.sources(environ).isprintable()


def backends_file(data: bytes) -> None:
    """A file of backends, as TOML and as JSON: rejected by one line, or backends without repeats."""
    for suffix in (".toml", ".json"):
        path = written(data, f"backends{suffix}")
        try:
            found = load.read_backends(path)
        except load.ConfigError as error:
            _check_message(str(error), str(path), data)
        else:
            names = [each.to_model().id for each in found]
            assert len(set(names)) == len(names)


def route(text: str) -> None:
    """A route as JSON: rejected, or a route whose model is complete."""
    try:
        config = routes.RouteConfig.model_validate_json(text)
        config.check("routes[0]", ["default", "other"], ["limit"])
    except (ValidationError, ValueError):
        return
    model = config.to_model()
    assert model.direct is not None or model.shares
    assert not any(path.endswith("/") for path in model.match.paths)


def certificate(data: bytes) -> None:
    """Bytes of a certificate: the end of its validity, its names and the type of its key, or ValueError."""
    try:
        names, key_type = x509.dns_names(data), x509.key_type(data)
    except ValueError:
        pass
    else:
        assert all(name.isascii() and name == name.lower() for name in names)
        assert key_type in ("RSA", "ECDSA", "Ed25519", "Ed448", "other")
    try:
        expires = x509.expiry(data)
    except ValueError:
        return
    text = expiry_text(expires, expires - 1.0)
    assert text.startswith("expires in 0 hours, at ")
