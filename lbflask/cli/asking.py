"""What all commands that ask the admin API share: where it is, who is asking, how they answer, and with which code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import Console

from lbflask.cli.client import DEFAULT_URL, Api, Problem, Unreachable, admin_url, segment, token_from
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config

#: Exit codes, as docs/operating.md has them.
FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_THERE, TOO_LONG = 1, 2, 3, 4, 5, 6

_CODES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_THERE}

Command = TypeVar("Command", bound=Callable[..., Any])


class Asking:
    """One command's API and manner of answering."""

    def __init__(self, api: Api, as_json: bool) -> None:
        self.api = api
        self.as_json = as_json
        self.console = Console(highlight=False)

    def say(self, document: Any, show: Callable[[Console], None]) -> None:
        """Answer: the document itself, or what shows it."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            show(self.console)

    def place(self, backend: str, pool: str | None) -> tuple[str, str]:
        """Pool and path of the backend with this name. Exits if there is none, or if several pools have one."""
        if pool is None:
            found = [
                one["name"]
                for one in self.api.get("/pools")["pools"]
                if backend in (*one["removed"], *(known["id"] for known in one["backends"]))
            ]
            if not found:
                self.fail(NOT_THERE, f"no pool has a backend {backend!r}")
            if len(found) > 1:
                self.fail(USAGE, f"the pools {', '.join(found)} have a backend {backend!r}: say --pool NAME")
            pool = found[0]
        return pool, f"/pools/{segment(pool)}/backends/{segment(backend)}"

    def fail(self, code: int, told: str) -> NoReturn:
        """End with this exit code."""
        if self.as_json:
            click.echo(json.dumps({"error": told, "exit_code": code}, ensure_ascii=False), err=True)
        else:
            click.echo(f"lbflask: {told}", err=True)
        sys.exit(code)


def asks(command: Command) -> Command:
    """A command that gets an Asking, with the options that choose the API. Problems end it with one line and a code."""

    @click.option("--url", envvar="LBFLASK_ADMIN_URL", help="The admin API; else where `admin_bind` is.")
    @click.option(
        "--token-file", envvar="LBFLASK_ADMIN_TOKEN_FILE", help="A file with the token; else LBFLASK_ADMIN_TOKEN."
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @wraps(command)
    def asking(*arguments: Any, url: str | None, token_file: str | None, as_json: bool, **options: Any) -> Any:
        asks_with = Asking(Api(url or DEFAULT_URL), as_json)
        try:
            asks_with.api = api_of(url, token_file)
            return command(asks_with, *arguments, **options)
        except Problem as problem:
            asks_with.fail(_CODES.get(problem.status, FAILED), str(problem))
        except Unreachable as error:
            asks_with.fail(UNREACHABLE, f"{error} (`lbflask doctor` looks further)")
        except OSError as error:
            asks_with.fail(FAILED, f"the token could not be read: {error.filename}: {error.strerror}")

    return asking  # type: ignore[return-value]


def api_of(url: str | None, token_file: str | None = None) -> Api:
    """The API that is meant. Raises OSError for a token that can't be read."""
    return Api((url or _configured_url()).rstrip("/"), token_from(os.environ, token_file))


def _configured_url() -> str:
    """Where the admin listener is, as far as can be told: the configuration may have an error now. Raises Unreachable
    if there is none.
    """
    try:
        bind = load().admin_bind
    except ConfigError:
        bind = os.environ.get("LBFLASK_ADMIN_BIND") or str(Config.model_fields["admin_bind"].default)
    if not bind:
        raise Unreachable("`admin_bind` is empty, so there is no admin listener; SIGHUP reloads")
    return admin_url(bind)


def complete_backend(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends for the shell; none if the API does not answer at once."""
    try:
        api = api_of(context.params.get("url") or os.environ.get("LBFLASK_ADMIN_URL"), context.params.get("token_file"))
        pools = api.get("/pools", patience=2.0)["pools"]
    except (Problem, Unreachable, OSError):
        return []
    names = {backend["id"]: backend["state"] for pool in pools for backend in pool["backends"]}
    return [CompletionItem(name, help=state) for name, state in names.items() if name.startswith(incomplete)]


def complete_pool(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pools for the shell."""
    try:
        api = api_of(context.params.get("url") or os.environ.get("LBFLASK_ADMIN_URL"), context.params.get("token_file"))
        pools = api.get("/pools", patience=2.0)["pools"]
    except (Problem, Unreachable, OSError):
        return []
    return [CompletionItem(pool["name"]) for pool in pools if pool["name"].startswith(incomplete)]
