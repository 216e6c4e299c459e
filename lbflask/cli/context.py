"""Common parts of commands that use the admin API: its URL and token, output, and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import Console, RenderableType

from lbflask.cli.api_client import ApiClient, ApiProblem, NoListener, Unreachable, admin_url, segment, token_from
from lbflask.cli.render import UNBOUNDED
from lbflask.config.files import UnusableFile
from lbflask.config.load import admin_bind
from lbflask.core.operator_note import reason_error
from lbflask.core.overrides import LAST_SERVING

#: Exit codes, documented in docs/operating.md.
FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, TIMED_OUT = 1, 2, 3, 4, 5, 6

_CODES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND}

Command = TypeVar("Command", bound=Callable[..., Any])


class CliContext:
    """The API client and the output of one command."""

    def __init__(self, url: str | None, token_file: str | None, as_json: bool) -> None:
        self.url = url
        self.as_json = as_json
        self.console = console()
        self.token_file = token_file

    def __repr__(self) -> str:
        return f"<CliContext {self.url or 'of the configuration'}, json={self.as_json}>"

    @cached_property
    def api(self) -> ApiClient:
        """The client of the API. Raises NoListener; exits if the token is unreadable."""
        try:
            return api_of(self.url, self.token_file)
        except UnusableFile as error:
            self.fail(FAILED, f"the token could not be read: {self.token_file}: {error}")

    def print_result(self, document: Any, *shown: RenderableType, **options: Any) -> None:
        """Print the document as JSON, or what is `shown` for people, with options of `Console.print`."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            self.console.print(*shown, **options)

    def print_line(self, document: Any, line: str) -> None:
        """Print the document as JSON, or the line."""
        self.print_result(document, line, markup=False, emoji=False, soft_wrap=True)

    def withdraw(self, method: str, path: str, body: dict[str, Any], *, force: bool) -> Any:
        """The result of an action that may leave a pool without a backend. Without `force`, a person at a terminal
        confirms it; without a terminal, or with --json, the command exits.
        """
        try:
            return self.api.request(method, path, {**body, "force": force})
        except ApiProblem as problem:
            if problem.kind != LAST_SERVING:
                raise
            if self.as_json or not sys.stdin.isatty():
                self.fail(FAILED, f"{problem}; --force does it all the same")
            click.confirm(f"lbflask: {problem}. Do it all the same?", abort=True, err=True)
        return self.api.request(method, path, {**body, "force": True})

    def locate_backend(self, backend: str, pool: str | None) -> tuple[str, str]:
        """Pool and path of the backend with this name. Exits if no pool or several pools have one."""
        if pool is None:
            pools = [
                one["name"]
                for one in self.api.get("/pools")["pools"]
                if backend in (*one["removed"], *(known["id"] for known in one["backends"]))
            ]
            if not pools:
                self.fail(NOT_FOUND, f"no pool has a backend {backend!r}")
            if len(pools) > 1:
                self.fail(USAGE, f"the pools {', '.join(pools)} have a backend {backend!r}: give --pool NAME")
            pool = pools[0]
        return pool, f"/pools/{segment(pool)}/backends/{segment(backend)}"

    def fail(self, code: int, message: str) -> NoReturn:
        """Exit with this code."""
        if self.as_json:
            click.echo(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False), err=True)
        else:
            click.echo(f"lbflask: {message}", err=True)
        sys.exit(code)


def api_command(command: Command) -> Command:
    """A command with a CliContext and the options for the API. Errors end it with one line and an exit code."""

    @click.option(
        "--url", "api_url", envvar="LBFLASK_ADMIN_URL", help="URL of the admin API; default: from `admin_bind`."
    )
    @click.option(
        "--token-file", envvar="LBFLASK_ADMIN_TOKEN_FILE", help="File with the token; default: LBFLASK_ADMIN_TOKEN."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def with_context(*arguments: Any, **options: Any) -> Any:
        context = CliContext(options.pop("api_url"), options.pop("token_file"), options.pop("as_json"))
        try:
            return command(context, *arguments, **options)
        except ApiProblem as problem:
            context.fail(_CODES.get(problem.status, FAILED), str(problem))
        except Unreachable as error:
            advice = f": {error.advice}" if isinstance(error, NoListener) else " (`lbflask doctor` finds out more)"
            context.fail(UNREACHABLE, f"{error}{advice}")

    return with_context  # type: ignore[return-value]


def _one_line(_: click.Context, __: click.Parameter, reason: str) -> str:
    """The reason without spaces at its ends. Raises BadParameter."""
    error = reason_error(reason.strip())
    if error:
        raise click.BadParameter(error)
    return reason.strip()


#: Why an action is done, and doing it although it leaves a pool without a backend.
reason_option = click.option("--reason", default="", callback=_one_line, help="Why, for other operators: one line.")
force_option = click.option("--force", is_flag=True, help="Also if no other backend of the pool serves.")


def console() -> Console:
    """The console for output. Pipes and files get unlimited lines without colours, for programs."""
    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)
    return Console(highlight=False, emoji=False, color_system=None, force_terminal=False, width=UNBOUNDED)


def api_of(url: str | None, token_file: str | None = None) -> ApiClient:
    """The client of the API. Raises NoListener, and UnusableFile if the token is unreadable."""
    if not url:
        bind, source = admin_bind()  # other errors in the configuration do not matter
        if not bind:
            raise NoListener(f"`admin_bind` is empty in {source}, so there is no admin listener")
        url = admin_url(bind)
    return ApiClient(url.rstrip("/"), token_from(os.environ, token_file))


def complete_backend(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends for shell completion; none if the API is unreachable."""
    names = {
        backend["id"]: backend["state"] for pool in complete(context, "/pools", "pools") for backend in pool["backends"]
    }
    return [CompletionItem(name, help=state) for name, state in names.items() if name.startswith(incomplete)]


def complete_pool(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pools for shell completion."""
    return [
        CompletionItem(pool["name"])
        for pool in complete(context, "/pools", "pools")
        if pool["name"].startswith(incomplete)
    ]


def complete(context: click.Context, path: str, key: str) -> list[dict[str, Any]]:
    """The list at this path and key of the API for shell completion; empty if it does not answer within 2 s."""
    url = context.params.get("api_url") or os.environ.get("LBFLASK_ADMIN_URL")
    try:
        found: list[dict[str, Any]] = api_of(url, context.params.get("token_file")).get(path, timeout=2.0)[key]
    except (ApiProblem, Unreachable, OSError, UnusableFile):
        return []
    return found
