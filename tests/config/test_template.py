from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from devtools.certificates import Authority
from lbflask.config import template
from lbflask.config.acme import AcmeConfig
from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.auth import AuthConfig, BasicAuthConfig, ForwardAuthConfig, TokenAuthConfig
from lbflask.config.backends import BackendConfig
from lbflask.config.bans import BanRuleConfig
from lbflask.config.listeners import ListenerConfig
from lbflask.config.load import ConfigError, load
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config, tables_of
from lbflask.config.tls import CertificateConfig, HSTSConfig, TLSConfig
from lbflask.config.traffic import PoolTrafficConfig, TrafficConfig
from tests.support.pool_routes import text_with_routes
from tests.test_public_names import sections


def blocks() -> dict[str, str]:
    """The lines below each header of a table, which may be a comment; the top level is the block ""."""
    found = {"": ""}
    header = ""
    for line in template.text().splitlines():
        if match := re.fullmatch(r"(?:# )?\[+([a-z_.]+)\]+", line):
            header = match[1]
            assert header not in found, "each table occurs once"
            found[header] = ""
        found[header] += line + "\n"
    return found


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Config
    yield "backends", BackendConfig
    yield from tables_of(Config).items()
    yield "listeners", ListenerConfig
    yield "tls.certificates", CertificateConfig
    yield "tls.hsts", HSTSConfig
    yield "tls.acme", AcmeConfig
    yield "auth", AuthConfig
    yield "auth.basic", BasicAuthConfig
    yield "auth.forward", ForwardAuthConfig
    yield "auth.jwt", TokenAuthConfig
    yield "bans.api", BanRuleConfig
    yield "rate_limits.api", RateLimitConfig
    yield "routes", RouteConfig
    for name, kind in template.tables_within(RouteConfig).items():
        if name not in TrafficConfig.model_fields:
            yield f"routes.{name}", kind


@pytest.mark.parametrize(("header", "kind"), [*tables()])
def test_every_setting_occurs_with_its_meaning(header: str, kind: type[BaseModel]) -> None:
    found = blocks()
    for name, field in kind.model_fields.items():
        if kind is RouteConfig and name in TrafficConfig.model_fields:
            assert f"`{name}`" in found["rate_limits.api"] or f"`[routes.{name}]`" in found["rate_limits.api"]
        elif name in tables_of(kind) and kind is TLSConfig:
            assert f"{header}.{name}" in found
        elif (kind is Config or kind is RouteConfig) and list(sections(field.annotation)) and name != "backends":
            inner = [key for key in found if re.fullmatch(rf"(?:{header}\.)?{name}(?:\.api)?", key)]
            assert inner, name
        else:
            assert re.search(rf"^(?:# +)?{field.alias or name} = ", found[header], re.MULTILINE), name
            words = " ".join(found[header].replace("\n#", "").split())
            assert " ".join(attribute_docstrings(kind)[name].split()) in words


def test_no_kind_of_table_is_left_out() -> None:
    """Of a pool, and of what routes inherit, the file only names the keys, which are those of the top level."""
    known = {kind for _, kind in tables()} | {PoolConfig, *template.tables_within(PoolTrafficConfig).values()}
    reached, queue = set(), [Config]
    while queue:
        kind = queue.pop()
        if kind not in reached:
            reached.add(kind)
            queue += [inner for field in kind.model_fields.values() for inner in sections(field.annotation)]
    # Those of [health] and of `match` again, and what stands in a line of `match` or of `when`.
    left = {"HealthCheckConfig", "ConditionsConfig", "ExpressionConfig", "ConditionalEditsConfig"}
    assert {kind.__name__ for kind in reached - known} == left


def test_as_written_it_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(template.text(), "utf-8")
    config = load({"LBFLASK_CONFIG": str(path)})
    written = {name for name, value in tomllib.loads(template.text()).items() if value != {}}
    assert written == {"backends", "bind"}
    assert config.model_dump() == Config(backends=config.backends).model_dump()


def test_defaults_are_accepted_as_they_are_written(tmp_path: Path) -> None:
    lines = template.text().partition("\n# A pool of backends")[0].splitlines()
    first, end = lines.index("# [[backends]]"), next(at for at, line in enumerate(lines) if line.startswith("["))
    del lines[first:end]
    in_effect = [re.sub(r"^# (?=[a-z_]+ = )", "", line) for line in lines if "unset by default" not in line]
    path = tmp_path / "lbflask.toml"
    path.write_text("\n".join(in_effect), "utf-8")
    config = load({"LBFLASK_CONFIG": str(path)})
    expected = Config(backends=config.backends, health={"kind": "http"})  # implied by the keys of requests
    assert config.model_dump() == expected.model_dump()


def settings() -> Iterator[tuple[str, str]]:
    """Each setting of the file, in effect or not, with the header of its table."""
    for header, lines in blocks().items():
        for line in re.findall(r"^(?:# )?([a-z_]+ = .+)$", lines, re.MULTILINE):
            yield header, line


#: What a table needs beside the setting, by the header: the keys before its header, and those within it.
BESIDE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "": ({}, {}),
    "backends": ({}, {"url": '"http://127.0.0.1:8081"'}),
    "listeners": ({}, {"bind": '"0.0.0.0:443"'}),
    "tls.certificates": ({}, {"cert": '"tls/fullchain.pem"', "key": '"tls/privkey.pem"'}),
    "tls.acme": (
        {
            "listeners": '[{ bind = "0.0.0.0:80" }, { bind = "0.0.0.0:443", tls = true }]',
            "tls.certificate": '"tls/fullchain.pem"',
            "tls.key": '"tls/privkey.pem"',
        },
        {"domains": '["a.example"]'},
    ),
    "compression": ({}, {"encodings": '["gzip"]'}),
    "cors": ({}, {"origins": '["https://shop.example"]'}),
    "hash": ({"strategy": '"consistent_hash"'}, {}),
    "sticky": ({}, {"cookie": '"session"'}),
    "pools.api": ({}, {}),
    "auth.forward": ({}, {"url": '"http://127.0.0.1:4180/check"'}),
    "auth.jwt": ({}, {"jwks": '"https://login.example/jwks.json"'}),
    "auth.basic": ({}, {"file": '"users.htpasswd"'}),
    "bans.api": ({}, {"statuses": "[401]"}),
    "rate_limits.api": ({}, {"rate": '"1/s"'}),
    "routes": ({}, {"name": '"r"', "pool": '"api"'}),
    "routes.redirect": ({}, {"to": '"/x"'}),
    "routes.files": ({}, {"root": '"public"'}),
    "routes.rewrite": ({}, {"to": '"/x"', "regex": '"/x(.*)"'}),
    "routes.mirror": ({}, {"pool": '"api"'}),
}
POOL = {"backends": '["http://127.0.0.1:8083"]'}


def table(header: str, keys: dict[str, str]) -> str:
    return "\n".join([header, *(f"{key} = {value}" for key, value in keys.items())]) + "\n"


def with_setting(header: str, line: str) -> str:
    """A short valid file that has the setting in its table."""
    key, _, value = line.partition(" = ")
    above, within = BESIDE.get(header, ({}, {}))
    within = {**within, key: value}
    if not header:
        above = within
    text = "" if header == "backends" else table("", {"backends": '["http://127.0.0.1:8082"]', **above})
    if header != "pools.api":
        text += table("[pools.api]", POOL)
        if header.startswith("routes."):
            text += table("[[routes]]", {"name": '"other"', "pool": '"api"', "match": '{ host = "api.example" }'})
    if header == "rate_limits.api":
        text += table("[[routes]]", {"name": '"limited"', "pool": '"api"', "rate_limit": '"api"'})
    if header.startswith("routes."):
        action = {} if header in ("routes.respond", "routes.redirect", "routes.files") else {"pool": '"api"'}
        text += table("[[routes]]", {"name": '"r"', "match": '{ path = "/api" }', **action})
        if header == "routes.match":
            text = text.replace('match = { path = "/api" }\n', "")
    if header:
        text += table(
            f"[[{header}]]" if header in ("backends", "listeners", "routes", "tls.certificates") else f"[{header}]",
            within,
        )
    if header == "routes":
        text += table("[routes.match]", {"path": '"/api"'})
    return text_with_routes(text)


def test_every_line_is_valid_without_its_number_sign(tmp_path: Path) -> None:
    """As TOML and as configuration, in its own table; where a table needs more than one key, with those."""
    path = tmp_path / "lbflask.toml"
    (tmp_path / "public").mkdir()
    (tmp_path / "users.htpasswd").write_text(f"alice:$2y$05${'a' * 53}\n")
    pair = Authority(tmp_path).pair("shop.example")
    (tmp_path / "tls").mkdir()
    for file, name in ((pair.certificate, "fullchain.pem"), (pair.key, "privkey.pem")):
        Path(file).rename(tmp_path / "tls" / name)
    found = list(settings())
    assert len(found) > 120
    faults = {}
    for header, line in found:
        path.write_text(with_setting(header, line), "utf-8")
        try:
            load({"LBFLASK_CONFIG": str(path)})
        except ConfigError as error:
            faults[header, line] = str(error)
    assert faults == {}


def test_what_looks_like_a_setting_or_a_header_is_one() -> None:
    """No other comment has the form of a setting, so that nothing escapes the test above."""
    commented = [line.removeprefix("# ") for line in template.text().splitlines() if line.startswith("# ")]
    assert not [
        line for line in commented if re.match(r"[a-z_]+ *=", line) and line not in {one for _, one in settings()}
    ]
    for line in commented:
        if line.startswith("[") and line.endswith("]"):
            tomllib.loads(line)


def test_an_example_is_marked_where_the_setting_may_be_absent() -> None:
    marked = [line for _, line in settings() if line.endswith("# an example: unset by default")]
    assert len(marked) > 12
    assert any(line.startswith("fast_interval = ") for line in marked)
