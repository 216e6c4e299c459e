"""What all commands that ask the admin API share: where it is, who is asking, how they answer, and with which code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import Console

from lbflask.cli.api_client import ApiClient, ApiProblem, NoListener, Unreachable, admin_url, segment, token_from
from lbflask.cli.render import UNBOUNDED
from lbflask.config.files import UnusableFile
from lbflask.config.load import admin_bind

#: Exit codes, as docs/operating.md has them.
FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, TIMED_OUT = 1, 2, 3, 4, 5, 6

_CODES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND}

Command = TypeVar("Command", bound=Callable[..., Any])


class CliContext:
    """One command's API and manner of answering."""

    def __init__(self, url: str | None, token_file: str | None, as_json: bool) -> None:
        self.url = url
        self.as_json = as_json
        self.console = console()
        self._token_file = token_file

    @cached_property
    def api(self) -> ApiClient:
        """The API that is meant. Raises NoListener; exits for a token that can't be read."""
        try:
            return api_of(self.url, self._token_file)
        except UnusableFile as error:
            self.fail(FAILED, f"the token could not be read: {self._token_file}: {error}")

    def print_result(self, document: Any, show: Callable[[Console], None]) -> None:
        """Answer: the document itself, or what shows it."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            show(self.console)

    def locate_backend(self, backend: str, pool: str | None) -> tuple[str, str]:
        """Pool and path of the backend with this name. Exits if there is none, or if several pools have one."""
        if pool is None:
            pools = [
                one["name"]
                for one in self.api.get("/pools")["pools"]
                if backend in (*one["removed"], *(known["id"] for known in one["backends"]))
            ]
            if not pools:
                self.fail(NOT_FOUND, f"no pool has a backend {backend!r}")
            if len(pools) > 1:
                self.fail(USAGE, f"the pools {', '.join(pools)} have a backend {backend!r}: say --pool NAME")
            pool = pools[0]
        return pool, f"/pools/{segment(pool)}/backends/{segment(backend)}"

    def fail(self, code: int, message: str) -> NoReturn:
        """End with this exit code."""
        if self.as_json:
            click.echo(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False), err=True)
        else:
            click.echo(f"lbflask: {message}", err=True)
        sys.exit(code)


def api_command(command: Command) -> Command:
    """A command that gets an Asking, with the options that choose the API. Problems end it with one line and a code."""

    @click.option("--url", "api_url", envvar="LBFLASK_ADMIN_URL", help="The admin API; else where `admin_bind` is.")
    @click.option(
        "--token-file", envvar="LBFLASK_ADMIN_TOKEN_FILE", help="A file with the token; else LBFLASK_ADMIN_TOKEN."
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @wraps(command)
    def with_context(
        *arguments: Any, api_url: str | None, token_file: str | None, as_json: bool, **options: Any
    ) -> Any:
        context = CliContext(api_url, token_file, as_json)
        try:
            return command(context, *arguments, **options)
        except ApiProblem as problem:
            context.fail(_CODES.get(problem.status, FAILED), str(problem))
        except NoListener as error:
            context.fail(UNREACHABLE, f"{error}: {error.advice}")
        except Unreachable as error:
            context.fail(UNREACHABLE, f"{error} (`lbflask doctor` looks further)")

    return with_context  # type: ignore[return-value]


def console() -> Console:
    """The console to print on. A pipe or a file gets lines of any length without colours: programs read them."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, color_system=None, force_terminal=False, width=UNBOUNDED)


def api_of(url: str | None, token_file: str | None = None) -> ApiClient:
    """The API that is meant. Raises UnusableFile for a token that can't be read, and NoListener."""
    return ApiClient((url or _configured_url()).rstrip("/"), token_from(os.environ, token_file))


def _configured_url() -> str:
    """Where the admin listener is by the configuration, which may have an error elsewhere. Raises NoListener."""
    bind, source = admin_bind()
    if not bind:
        raise NoListener(f"`admin_bind` is empty in {source}, so there is no admin listener")
    return admin_url(bind)


def complete_backend(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends for the shell; none if the API does not answer at once."""
    names = {backend["id"]: backend["state"] for pool in _pools(context) for backend in pool["backends"]}
    return [CompletionItem(name, help=state) for name, state in names.items() if name.startswith(incomplete)]


def complete_pool(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pools for the shell."""
    return [CompletionItem(pool["name"]) for pool in _pools(context) if pool["name"].startswith(incomplete)]


def _pools(context: click.Context) -> list[dict[str, Any]]:
    """The pools, as far as the API answers at once."""
    url = context.params.get("api_url") or os.environ.get("LBFLASK_ADMIN_URL")
    try:
        pools: list[dict[str, Any]] = api_of(url, context.params.get("token_file")).get("/pools", timeout=2.0)["pools"]
    except (ApiProblem, Unreachable, OSError, UnusableFile):
        return []
    return pools
