"""Writes the pages of docs/ that are generated from the code. Tests compare them, so they cannot go stale."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from pathlib import Path

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbflask import cli
from lbflask.config import routes
from lbflask.config.acme import AcmeConfig
from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.auth import AuthConfig, BasicAuthConfig, ForwardAuthConfig, TokenAuthConfig
from lbflask.config.backends import BackendConfig
from lbflask.config.bans import BanRuleConfig
from lbflask.config.header_edits import ConditionalEditsConfig
from lbflask.config.listeners import ListenerConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.route_match import ConditionsConfig, ExpressionConfig
from lbflask.config.schema import Config, tables_by_name, tables_of
from lbflask.config.static_files import StaticFilesConfig
from lbflask.config.template import about, about_traffic, default_of, in_order
from lbflask.config.tls import CertificateConfig, HSTSConfig
from lbflask.config.traffic import PoolTrafficConfig, TrafficConfig
from lbflask.control.api import endpoints
from lbflask.store import keys
from lbflask.telemetry.metrics import definitions

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Each page and what should be in it."""
    return {
        HERE / "configuration.md": configuration_page(),
        HERE / "command-line.md": command_line_page(),
        HERE / "redis-keys.md": keys.as_markdown(),
        HERE / "metrics.md": metrics_page((HERE / "metrics.md").read_text("utf-8")),
        HERE / "openapi.json": endpoints.openapi_text(),
        HERE / "adr" / "README.md": decisions_page(),
    }


def configuration_page() -> str:
    """`docs/configuration.md`: every setting with its variable, default and meaning, from its one declaration."""
    lines = [
        "# Configuration",
        "",
        "Written by `make docs` from `lbflask/config/`; a test compares the two.",
        "",
        "Settings come from `lbflask.toml` in the working directory (or the file that `LBFLASK_CONFIG` names), and",
        "from the environment, which has precedence. Unknown keys and invalid values are errors, shown in one line",
        "with their source. `lbflask config check FILE` checks a file without starting anything.",
        "",
        "Times are in seconds and sizes in bytes: numbers, or texts such as `'250ms'`, `'1m30s'`, `'2h'`, and",
        "`'512KiB'`, `'25m'`, `'1GiB'` (`k`, `m`, `g` are powers of 1024 as in nginx; `KB`, `MB`, `GB` of 1000).",
        "",
        "In the texts of a file, `${VARIABLE}` is a variable of the environment, and `${VARIABLE:-default}` one with a",
        "default for when it is not set or empty; `$${` stands for `${`. `include = ['conf.d/*.toml']` at the top of a",
        "file reads further files, those of a pattern in the order of their names: tables are merged, `[[routes]]` and",
        "`[[listeners]]` are joined in the order of the files, and any other key that two files set is an error.",
        "",
        "`lbflask config show` prints every setting of a process that would be started here, `lbflask config show",
        "--running` those of a running instance. The number of workers is a setting of gunicorn: `WEB_CONCURRENCY` or",
        "`--workers`.",
        "",
        "A relative path in the file starts from the directory of that file; in the environment, from the working",
        "directory. A backend at `unix:path` is identified by its absolute path, so that instances with files in",
        "different directories need the absolute path of a socket that they share.",
        "",
    ]
    tables: dict[str, type[BaseModel]] = {"": Config, **tables_of(Config)}
    within = {"response_headers": _changes_by_condition()}
    for section, kind in tables.items():
        title = f"## `[{section}]`" if section else "## Top level"
        hidden = {*tables_of(kind), *tables_by_name(kind), "listeners", "routes"}
        variable = f"LBFLASK_{section}__" if section else "LBFLASK_"
        lines += [title, "", *([about(kind), ""] if section else ()), *_rows(kind, variable, hidden), ""]
        lines += within.get(section, ())
    lines += _pools()
    lines += ["## `[rate_limits.NAME]`", "", about(RateLimitConfig), ""]
    lines += [*_rows(RateLimitConfig, "LBFLASK_RATE_LIMITS__NAME__"), ""]
    lines += ["## `[bans.NAME]`", "", about(BanRuleConfig), "", *_rows(BanRuleConfig, "LBFLASK_BANS__NAME__"), ""]
    lines += _auth()
    lines += ["## `[[listeners]]`", "", about(ListenerConfig), "They are set in the file only.", ""]
    lines += [*_rows(ListenerConfig), ""]
    for title, part in (("`[[tls.certificates]]`", CertificateConfig), ("`[tls.hsts]`", HSTSConfig)):
        lines += [f"## {title}", "", about(part), "", *_rows(part), ""]
    lines += ["## `[tls.acme]`", "", about(AcmeConfig), "", *_rows(AcmeConfig, "LBFLASK_TLS__ACME__"), ""]
    lines += ["## A backend", "", "A URL, or a table:", "", *_rows(BackendConfig), "", *_routes()]
    return "\n".join(lines) + "\n"


def _rows(kind: type[BaseModel], variable: str = "", hidden: Collection[str] = ()) -> list[str]:
    """A table of the settings, with their variables if these begin with `variable`."""
    rows = [("key", *(["environment"] if variable else ()), "default", ""), ["---"] * (4 if variable else 3)]
    meanings = attribute_docstrings(kind)
    for name, field in in_order(kind).items():
        if name not in hidden:
            key = field.alias or name
            named = [f"`{variable.upper()}{key.upper()}`"] if variable else []
            rows.append([f"`{key}`", *named, _default(field), meanings[name]])
    return [f"| {' | '.join(row)} |".replace("  |", " |") for row in rows]


def _routes() -> list[str]:
    where = "They are set in the file only. The choice of a route is described in [routing.md](routing.md)."
    traffic = TrafficConfig.model_fields
    lines = ["## `[[routes]]`", "", about(routes.RouteConfig), where, "", *_rows(routes.RouteConfig, hidden=traffic)]
    lines += ["", about_traffic("[routes.", TrafficConfig)]
    tables: dict[str, type[BaseModel]] = {
        "`match` of a route": routes.MatchConfig,
        "`not` of a match, with the same keys but `not`": ConditionsConfig,
        "A value of `headers`, `query` and `cookies`, as an expression": ExpressionConfig,
        "`respond` of a route": routes.RespondConfig,
        "`redirect` of a route": routes.RedirectConfig,
        "`files` of a route": StaticFilesConfig,
        "`rewrite` of a route": routes.RewriteConfig,
        "`mirror` of a route": routes.MirrorConfig,
    }
    for title, kind in tables.items():
        lines += ["", f"### {title}", "", about(kind), "", *_rows(kind)]
    return lines


def _changes_by_condition() -> list[str]:
    title = "### `[[response_headers.when]]`"
    return [title, "", about(ConditionalEditsConfig), "", *_rows(ConditionalEditsConfig), ""]


def _auth() -> list[str]:
    lines = ["## `[auth]`", "", about(AuthConfig), "They are set in the file only.", "", *_rows(AuthConfig), ""]
    for name, kind in (("basic", BasicAuthConfig), ("forward", ForwardAuthConfig), ("jwt", TokenAuthConfig)):
        lines += [f"### `[auth.{name}]`", "", about(kind), "", *_rows(kind), ""]
    return lines


def _pools() -> list[str]:
    scalars = ", ".join(f"`{name}`" for name in in_order(PoolConfig) if name not in tables_of(PoolConfig))
    tables = ", ".join(f"`[pools.NAME.{name}]`" for name in in_order(PoolConfig) if name in tables_of(PoolConfig))
    return [
        "## `[pools.NAME]`",
        "",
        about(PoolConfig),
        f"Its keys have the meaning that they have at the top level, which is the pool `default`: {scalars}, "
        f"and the tables {tables}.",
        "In the environment they are `LBFLASK_POOLS__NAME__KEY`. A top level without backends is no pool, when there",
        "are others.",
        "",
        about_traffic("[pools.NAME.", PoolTrafficConfig),
        "",
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = default_of(field)
    return "unset" if default is None else f"`{default}`"


def command_line_page() -> str:
    """`docs/command-line.md`: every command with its arguments, options and meaning, from its declaration."""
    lines = [
        "# Command line",
        "",
        "Written by `make docs` from `lbflask/cli/`; a test compares the two. `lbflask COMMAND --help` shows the same.",
        "[operating.md](operating.md) describes the use of the commands, their exit codes, and completion for shells.",
        "",
    ]
    for path, command in _commands(cli.main, "lbflask"):
        lines += [f"## `{path}`", "", *_prose(command.help or ""), ""]
        usage = command.collect_usage_pieces(click.Context(command))
        lines += ["```text", " ".join([path, *usage]), "```", ""]
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        if options:
            lines += ["| option | |", "| --- | --- |", *map(_option, options), ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, with their whole names."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in sorted(command.commands):
        yield from _commands(command.commands[name], f"{path} {name}")


def _prose(text: str) -> list[str]:
    """The paragraphs of a help text as lines. A `*` in it is no emphasis."""
    return inspect.cleandoc(text.replace("\b\n", "")).replace("*", r"\*").splitlines()


def _option(option: click.Option) -> str:
    names, text = option.get_help_record(click.Context(click.Command("lbflask"))) or ("", "")
    return f"| `{names}` | {text} |".replace("  |", " |")


def metrics_page(page: str) -> str:
    """The page with the table of all metrics at its end, in place of the one that it has."""
    head = "| name | kind | labels | |\n| --- | --- | --- | --- |\n"
    rows = [
        f"| `{metric.name}{'_total' if metric.kind == 'counter' else ''}` | {metric.kind} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |\n"
        for metric in definitions.ALL
    ]
    return page.partition(head)[0] + head + "".join(rows)


def decisions_page() -> str:
    """`docs/adr/README.md`: every decision by its number and title."""
    lines = ["# Decisions", "", "Written by `make docs` from the pages of this directory; a test compares the two.", ""]
    for page in sorted((HERE / "adr").glob("[0-9]*.md")):
        number, _, title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ").partition(" ")
        lines.append(f"- [{number}]({page.name}) {title}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
