"""The file that `lbflask init` writes: every setting with its meaning and its default, from its one declaration."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Collection, Iterable

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbflask.config import routes
from lbflask.config.acme import AcmeConfig
from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.auth import AuthConfig, BasicAuthConfig, ForwardAuthConfig, TokenAuthConfig
from lbflask.config.backends import BackendConfig
from lbflask.config.bans import BanRuleConfig
from lbflask.config.listeners import ListenerConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.schema import Config, tables_by_name, tables_of
from lbflask.config.tls import CertificateConfig, HSTSConfig
from lbflask.config.traffic import PoolTrafficConfig, TrafficConfig

_HEAD = """\
# lbflask's configuration. A setting without # is in effect; all others show their defaults, or an example where they
# have none.
# `lbflask config check` checks this file, `lbflask config show` prints what is in effect.
# Every setting may also be set in the environment, which has precedence: LBFLASK_BIND, LBFLASK_HEALTH__INTERVAL, …
# Times are in seconds. The number of workers is gunicorn's: `lbflask serve --workers 4`.
#
# to have                          look for
# https                            [[listeners]], [tls]; certificates that come by themselves: [tls.acme]
# static files, compression        `files` of [[routes]]; [compression]
# hosts, paths, redirections       [[routes]], [pools.NAME]; a share for a new version: `split` of a route
# users, tokens, single sign-on    [auth]; certificates of clients: `client_certificates` of [[listeners]]
# networks that may come in        [access]; addresses that misbehave: [bans.NAME]
# limits                           [limits], [rate_limits.NAME], `max_connections` of a backend
# backends on sync workers         [buffering], so that slow clients do not occupy them
# sessions, header fields, CORS    [sticky]; [request_headers], [response_headers]; [cors]
# other protocols                  backends uwsgi://…; `tcp`, `sni` and `proxy_protocol` of [[listeners]]
# an nginx.conf, haproxy.cfg, …    `lbflask import nginx FILE` writes this file from it"""
#: Settings that are in effect in the file, because nearly all users change them.
_LIVE = {
    "backends": '["http://127.0.0.1:8081", "http://127.0.0.1:8082"]',
    "bind": '"0.0.0.0:8080"',
}
#: Values of settings that have no default.
_EXAMPLES = {
    "instance": '"edge-1"',
    "redis_url": '"redis://10.0.0.5:6379/0"',
    "when_all_down": '"fail_open"',
    "bind": '"0.0.0.0:443"',
    "cert": '"tls/fullchain.pem"',
    "key": '"tls/privkey.pem"',
    "AcmeConfig.key": '"32 characters or more, as of openssl rand -base64 32"',
    "hsts": "true",
    "basic": '"users.htpasswd"',
    "BasicAuthConfig.file": '"users.htpasswd"',
    "forward": '"http://127.0.0.1:4180/check"',
    "ForwardAuthConfig.url": '"http://127.0.0.1:4180/check"',
    "jwt": '{ jwks = "https://login.example/jwks.json" }',
    "jwks": '"https://login.example/jwks.json"',
    "open": "true",
    "url": '"http://127.0.0.1:8081"',
    "name": '"api"',
    "slow_start": "30.0",
    "health": '{ path = "/healthz" }',
    "kind": '"http"',
    "fast_interval": "2.0",
    "port": "8081",
    "source": '"dns://web.internal:8000"',
    "load_factor": "1.25",
    "max_age": "86400",
    "secure": "true",
    "endpoint": '"http://127.0.0.1:4318/v1/traces"',
    "request": "60.0",
    "per_attempt": "10.0",
    "rate": '"100/min"',
    "burst": "20",
    "statuses": "[401]",
    "pool": '"api"',
    "root": '"public"',
    "remove": '["Server"]',
    "when": '[{ on = ["2xx"], set = { Cache-Control = "max-age=60" } }]',
    "slower_than": "0.5",
    "replace_prefix": '"/v2"',
    "to": '"https://{host}{path}{query}"',
    "RewriteConfig.to": '"/new/{1}"',
    "regex": '"^/old/(.*)"',
    "scheme": '"https"',
}
_ABOUT_BACKENDS = (
    "Each of `backends` is a URL or a table, { url = …, weight = 2 }, with these keys. In place of the line above that "
    "begins with `backends`, each may also be a table of its own:"
)
#: What follows an example where the setting may be absent.
_UNSET = "  # an example: unset by default"
_WIDTH = 118


def text() -> str:
    """The whole file."""
    inherited = TrafficConfig.model_fields
    lines = [_HEAD, *_settings(Config, {*tables_of(Config), *tables_by_name(Config), "auth", "listeners", "routes"})]
    lines += _block(_ABOUT_BACKENDS, ["# [[backends]]", *_settings(BackendConfig)])
    for name, kind in tables_of(Config).items():
        lines += ["", *_comment(about(kind)), f"[{name}]", *_settings(kind, tables_of(kind))]
    lines += _block(_about_pools(), ["# [pools.api]", '# backends = ["http://127.0.0.1:8083"]'])
    lines += _block(about(ListenerConfig), ["# [[listeners]]", *_settings(ListenerConfig)])
    lines += _block(about(CertificateConfig), ["# [[tls.certificates]]", *_settings(CertificateConfig)])
    lines += _block(about(HSTSConfig), ["# [tls.hsts]", *_settings(HSTSConfig)])
    lines += _block(about(AcmeConfig), ["# [tls.acme]", *_settings(AcmeConfig)])
    lines += _block(about(AuthConfig), ["# [auth]", *_settings(AuthConfig)])
    lines += _block(about(BasicAuthConfig), ["# [auth.basic]", *_settings(BasicAuthConfig)])
    lines += _block(about(ForwardAuthConfig), ["# [auth.forward]", *_settings(ForwardAuthConfig)])
    lines += _block(about(TokenAuthConfig), ["# [auth.jwt]", *_settings(TokenAuthConfig)])
    lines += _block(about(BanRuleConfig), ["# [bans.api]", *_settings(BanRuleConfig)])
    lines += _block(about(RateLimitConfig), ["# [rate_limits.api]", *_settings(RateLimitConfig)])
    parts = {name: kind for name, kind in tables_within(routes.RouteConfig).items() if name not in inherited}
    keys = _settings(routes.RouteConfig, {*parts, *inherited})
    lines += _block(f"{about(routes.RouteConfig)} {about_traffic('[routes.', TrafficConfig)}", ["# [[routes]]", *keys])
    for name, kind in parts.items():
        lines += ["", *_comment(about(kind)), f"# [routes.{name}]", *_settings(kind)]
    return "\n".join(lines) + "\n"


def tables_within(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables within a table by key, also the optional ones."""
    found = {}
    for name, field in kind.model_fields.items():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found[name] = part
    return found


def about(kind: type[BaseModel]) -> str:
    """The meaning of a table."""
    return inspect.cleandoc(kind.__doc__ or "")  # as Python 3.13 does by itself


def default_of(field: FieldInfo) -> str | None:
    """The default as TOML, which for these values is written as JSON is; None if there is none."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, dict) and default:
        return f"{{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in default.items())} }}"
    return None if default is None or isinstance(default, BaseModel) else json.dumps(default)


def in_order(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """The settings of a table: those that pools and routes inherit last."""
    uninherited = {
        name: field for name, field in kind.model_fields.items() if name not in PoolTrafficConfig.model_fields
    }
    return uninherited | kind.model_fields


def about_traffic(table: str, kind: type[TrafficConfig]) -> str:
    """Which keys of tables of this kind are inherited; `table` begins the names of the tables within."""
    tables = tables_of(kind)
    keys = ", ".join(f"`{name}`" for name in kind.model_fields if name not in tables)
    names = (f"`{table}{name}]` ({', '.join(f'`{key}`' for key in one.model_fields)})" for name, one in tables.items())
    return f"Inherited where unset, key by key (docs/inheritance.md): {keys}, and of tables {', '.join(names)}."


def _about_pools() -> str:
    tables = tables_of(PoolConfig)
    keys = ", ".join(f"`{name}`" for name in in_order(PoolConfig) if name not in tables)
    names = ", ".join(f"`[pools.NAME.{name}]`" for name in tables)
    meaning = f"Its keys have the meaning that they have above: {keys}, and the tables {names}."
    return f"{about(PoolConfig)} {meaning} {about_traffic('[pools.NAME.', PoolTrafficConfig)}"


def _block(title: str, lines: Iterable[str]) -> list[str]:
    return ["", *_comment(title), *lines]


def _settings(kind: type[BaseModel], hidden: Collection[str] = ()) -> list[str]:
    """The settings of a table, each below its meaning."""
    lines: list[str] = []
    meanings = attribute_docstrings(kind)
    for name, field in in_order(kind).items():
        if name not in hidden:
            lines += ["", *_comment(meanings.get(name, "")), _setting(kind, field.alias or name, field)]
    return lines


def _setting(kind: type[BaseModel], name: str, field: FieldInfo) -> str:
    if kind is Config and name in _LIVE:
        return f"{name} = {_LIVE[name]}"
    value = default_of(field)
    if value is not None:
        return f"# {name} = {value}"
    example = _EXAMPLES.get(f"{kind.__name__}.{name}") or _EXAMPLES[name]
    return f"# {name} = {example}" + ("" if field.is_required() else _UNSET)


def _comment(prose: str) -> list[str]:
    text = " ".join(prose.split())
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
