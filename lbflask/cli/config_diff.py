"""`lbflask config diff`: the settings in which a running instance differs from a file, or from another instance.

Instances publish their settings through the store, so that the admin listener of the other one need not be reachable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click

from lbflask.cli.context import FAILED, NOT_FOUND, CliContext, api_command, api_of
from lbflask.cli.instance import complete_instance, locate
from lbflask.config.load import ConfigError, load
from lbflask.config.render import effective, version

#: Settings in which instances on one machine must differ.
_INDIVIDUAL = frozenset({"bind", "admin_bind", "instance"})
_UNSET = "(unset)"


@click.command("diff")
@click.argument("file", required=False, type=click.Path())
@click.option("--other", metavar="URL", help="Admin listener of the other instance, with the same token.")
@click.option(
    "--instance", metavar="NAME", help="Name of the other instance of the fleet.", shell_complete=complete_instance
)
@api_command
def diff(context: CliContext, file: str | None, other: str | None, instance: str | None) -> None:
    """Print the settings in which a running instance differs from FILE, or from another instance.

    The other one is given by --instance NAME, or by --other URL if it has another store. Secrets are masked, so it is
    only said whether they differ. FILE is read with the environment of this command. Exit code 1 if there is a
    difference.
    """
    if sum(one is not None for one in (file, other, instance)) != 1:
        raise click.UsageError("give FILE, or another instance by --instance NAME or --other URL")
    running = context.api.get("/config")
    if file is not None:
        compared = _of_file(context, file)
    elif other is not None:
        compared = api_of(other, context.token_file).get("/config")
    else:
        compared = _of_instance(context, str(instance), running)
    ignored = _INDIVIDUAL if file is None else frozenset[str]()
    differences = {key: pair for key, pair in _differences(running, compared).items() if key not in ignored}
    if _print_differences(context, running, compared, differences):
        raise SystemExit(FAILED)


def _print_differences(
    context: CliContext,
    running: Mapping[str, Any],
    compared: Mapping[str, Any],
    differences: Mapping[str, tuple[Any, Any]],
) -> bool:
    """Whether there are any, also of secrets, which versions cover."""
    names = running["instance"], compared["instance"]
    secrets_differ = not differences and running["version"] != compared["version"]
    document = {
        "instances": names,
        "differences": [{"key": key, "values": pair} for key, pair in sorted(differences.items())],
        "secrets_differ": secrets_differ,
    }
    agreement = " have the same settings" + (", but other secrets" if secrets_differ else "")
    lines = [f"{names[0]} and {names[1]}" + ("" if differences else agreement)]
    lines += [f"{key}\n  - {here}\n  + {there}" for key, (here, there) in sorted(differences.items())]
    context.print_line(document, "\n".join(lines))
    return bool(differences) or secrets_differ


def _of_instance(context: CliContext, instance: str, running: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an instance has published; of several versions, as during a reload, another one than here."""
    name = locate(context, instance)
    found = next(one for one in context.api.get("/instances")["instances"] if one["name"] == name)
    if not found["config"]:
        context.fail(NOT_FOUND, f"{name} does not run, so that its configuration is unknown")
    theirs = next((one for one in found["config"] if one != running["version"]), running["version"])
    return {"instance": name, **context.api.get(f"/configurations/{theirs}")}


def _of_file(context: CliContext, file: str) -> dict[str, Any]:
    """The settings of the file, as the API shows those of an instance. Exits if it has an error."""
    try:
        config = load({**os.environ, "LBFLASK_CONFIG": file})
    except ConfigError as error:
        context.fail(FAILED, str(error))
    return {"instance": file, "version": version(config), "settings": effective(config)}


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values here and there of the settings that differ, by key."""
    ours, theirs = dict(_flat("", here["settings"])), dict(_flat("", there["settings"]))
    keys = ours.keys() | theirs.keys()
    pairs = {key: (ours.get(key, _UNSET), theirs.get(key, _UNSET)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(where: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings by key, as in `timeouts.connect`. Lists are values."""
    for name, value in values.items():
        key = f"{where}.{name}" if where else name
        if isinstance(value, Mapping) and value:
            yield from _flat(key, value)
        else:
            yield key, value
