"""Commands that change something. Done twice, each is the same as done once."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lbflask.cli.api_client import NoListener, Unreachable, segment
from lbflask.cli.context import TOO_LONG, UNREACHABLE, CliContext, api_command, complete_backend, complete_pool

#: Seconds between two looks at what is in flight.
LOOK_EVERY = 0.5
#: Seconds for which nothing must have been in flight: by then every living worker has told of what it has, and one
#: that was killed counts no more.
QUIET_FOR = 2.0

_pool = click.option(
    "--pool", shell_complete=complete_pool, help="The pool, where several have a backend of this name."
)
_name = click.argument("name", shell_complete=complete_backend)


@click.command()
@_name
@_pool
@click.option("--wait", is_flag=True, help="Return when nothing is in flight any more.")
@click.option("--timeout", type=click.FloatRange(0.1), help="Seconds to wait at most; then the exit code is 6.")
@api_command
def drain(asking: CliContext, name: str, pool: str | None, wait: bool, timeout: float | None) -> None:
    """Give NAME no new requests. Those in flight, and sticky sessions, go on."""
    where, path = asking.place(name, pool)
    done = asking.api.ask("POST", f"{path}/drain")
    if not wait:
        _say(asking, done, f"{name} of pool {where} is draining, {_in_flight(done)} in flight")
        return
    quiet = _wait(asking, path, name, timeout)
    done["backend"] = asking.api.get(path)
    if not quiet:
        asking.fail(
            TOO_LONG,
            f"{name} still has {done['backend']['in_flight']} in flight after {timeout:g} s; it goes on draining",
        )
    asking.say(done, lambda console: console.print(f"{name} of pool {where} is drained: nothing is in flight"))


@click.command()
@_name
@_pool
@api_command
def enable(asking: CliContext, name: str, pool: str | None) -> None:
    """Let NAME serve again, after `drain`, `off` or `remove`."""
    _act(asking, name, pool, "POST", "/enable", "serves")


@click.command()
@_name
@_pool
@api_command
def off(asking: CliContext, name: str, pool: str | None) -> None:
    """Give NAME no requests at all, not even those of sticky sessions. Those in flight end by themselves."""
    _act(asking, name, pool, "POST", "/off", "is off")


@click.command()
@_name
@_pool
@api_command
def uneject(asking: CliContext, name: str, pool: str | None) -> None:
    """Let NAME serve again although requests have failed, without waiting for a probe."""
    _act(asking, name, pool, "POST", "/uneject", "is not ejected")


@click.command()
@_name
@click.argument("weight", metavar="WEIGHT|usual")
@_pool
@api_command
def weight(asking: CliContext, name: str, weight: str, pool: str | None) -> None:
    """Set the weight of NAME, 0 to 256; `usual` takes back what was set."""
    if weight != "usual" and not (weight.isascii() and weight.isdigit() and int(weight) <= 256):
        raise click.BadParameter("must be a number from 0 to 256, or `usual`", param_hint="WEIGHT")
    number = None if weight == "usual" else int(weight)
    where, path = asking.place(name, pool)
    done = asking.api.ask("PUT", f"{path}/weight", {"weight": number})
    _say(asking, done, f"{name} of pool {where} has weight {done['backend']['weight']}")


@click.command()
@click.argument("backend_url", metavar="URL")
@click.option("--name", help="Its stable name; `host:port` unless given.")
@click.option("--weight", default=1, show_default=True, type=click.IntRange(0, 256))
@click.option("--backup", is_flag=True, help="It serves only when no other backend can.")
@click.option("--pool", default="default", show_default=True, shell_complete=complete_pool)
@api_command
def add(asking: CliContext, backend_url: str, name: str | None, weight: int, backup: bool, pool: str) -> None:
    """Put the backend at URL into a pool. It serves once a check has succeeded."""
    body = {"url": backend_url, "weight": weight, "backup": backup} | ({"name": name} if name else {})
    done = asking.api.ask("POST", f"/pools/{segment(pool)}/backends", body)
    _say(asking, done, f"{done['backend']['id']} is in pool {pool}, {done['backend']['state']}")


@click.command()
@_name
@_pool
@api_command
def remove(asking: CliContext, name: str, pool: str | None) -> None:
    """Take NAME out of its pool, also one that is configured. Requests in flight end by themselves."""
    where, path = asking.place(name, pool)
    done = asking.api.ask("DELETE", path)
    _say(asking, done, f"{name} is out of pool {where}")


@click.command()
@api_command
def reload(asking: CliContext) -> None:
    """Have the instance read its configuration anew, and the checkers theirs.

    Exit code 1 if the configuration has an error, or an earlier reload is under way; then nothing has changed.
    """
    try:
        told = asking.api.ask("POST", "/reload")
    except NoListener as error:
        asking.fail(UNREACHABLE, f"{error}: {error.advice}; SIGHUP to gunicorn's master reloads without one")
    in_place, late = ", ".join(told["in_place"]), ", ".join(told["by_new_workers"])
    lines = [f"configuration {told['config_version']}: {in_place or late or 'nothing has changed'}"]
    if late:
        lines.append(f"new workers take over, for the sake of {late}")
    asking.say(told, lambda console: console.print("\n".join(lines), markup=False, soft_wrap=True))


def _act(asking: CliContext, name: str, pool: str | None, method: str, action: str, told: str) -> None:
    where, path = asking.place(name, pool)
    _say(asking, asking.api.ask(method, path + action), f"{name} of pool {where} {told}")


def _say(asking: CliContext, done: dict[str, Any], told: str) -> None:
    asking.say(done, lambda console: console.print(told + ("" if done["changed"] else ", as before"), markup=False))


def _in_flight(done: dict[str, Any]) -> int:
    return int(done["backend"]["in_flight"])


def _wait(asking: CliContext, path: str, name: str, timeout: float | None) -> bool:
    """Wait until nothing was in flight for a while; False if that takes too long. Shows how far it is."""
    began = quiet_since = time.monotonic()
    most = 0
    with _progress(asking) as progress:
        bar = progress.add_task(f"draining {name}", total=1, left="…")
        while timeout is None or time.monotonic() - began < timeout:
            left = _left(asking, path)
            if left:
                quiet_since = time.monotonic()
            if left is not None:
                most = max(most, left)
                progress.update(bar, total=max(1, most), completed=most - left, left=f"{left} in flight")
            if left == 0 and time.monotonic() - quiet_since >= QUIET_FOR:
                progress.update(bar, completed=max(1, most), total=max(1, most))
                return True
            time.sleep(LOOK_EVERY)
    return False


def _left(asking: CliContext, path: str) -> int | None:
    """Requests in flight; None while nobody can say."""
    try:
        state = asking.api.get("/fleet")
        return None if state["stale"] else int(asking.api.get(path)["in_flight"])
    except Unreachable:
        return None


def _progress(asking: CliContext) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
        console=asking.console,
        disable=asking.as_json,
        transient=False,
    )


COMMANDS = (drain, enable, off, uneject, weight, add, remove, reload)
