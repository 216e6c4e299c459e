"""The names that users type, parse and store: `public_names.txt` lists them, and they change only on purpose.

A rename inside the package must leave the list alone. A new name is added to the list in the commit that introduces it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from lbflask.cli import main
from lbflask.config.schema import Config
from lbflask.control.api import endpoints
from lbflask.core.answers import AnswerCause
from lbflask.core.client_shares import ClientCounts
from lbflask.core.discovery import SourceFailure
from lbflask.core.failure_causes import FailureCause
from lbflask.core.faults import Blame, Stage
from lbflask.core.fleet_events import Kind
from lbflask.core.fleet_stats import BackendCounts, Waits, WorkerIdentity, WorkerReport
from lbflask.core.log_fields import FIELDS
from lbflask.core.model import ActiveHealth, Backend, Health, Mode, Override
from lbflask.core.rate_limit import RateLimit
from lbflask.core.reserves import FileSystem, LostLines, Reserves, Use
from lbflask.core.slow_uploads import Uploads
from lbflask.store import fleet_records, keys, records
from lbflask.telemetry.metrics import definitions

LIST = Path(__file__).with_name("public_names.txt")
BACKEND = Backend("a:1", "a", 1, "http://a:1", 2, "http", "/a", True, 3.0, 4)


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every configuration key with its path."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{field.alias or name}"
        for section in sections(field.annotation):
            yield from settings(section, f"{prefix}{field.alias or name}.")


def commands(command: click.Command, path: str = "lbflask") -> Iterator[str]:
    """Every verb of the command line with its options and arguments."""
    yield path
    for parameter in command.params:
        for option in parameter.opts:
            yield f"{path} {option}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")


def api() -> Iterator[str]:
    """Every operation and field of the admin API."""
    document = json.loads(endpoints.openapi_text())
    for path, operations in document["paths"].items():
        yield from (f"{verb.upper()} {path}" for verb in operations)
    for name, schema in document["components"]["schemas"].items():
        yield from (f"{name}.{field}" for field in schema.get("properties", ()))


def redis() -> Iterator[str]:
    """Every key, channel and field of a record in Redis."""
    for legend in (keys.PoolKeys("namespace", "pool"), keys.FleetKeys("namespace")):
        yield from (getattr(legend, name) for name in keys.contents(type(legend)))
    yield keys.bucket("namespace", RateLimit("limit", 1, 1, 1), "key").rpartition(":")[0] + ":digest}"
    yield keys.configuration("namespace", "version")
    override = Override(Mode.DRAINING, 2, BACKEND, True, 5.0)
    report = WorkerReport(
        WorkerIdentity("i", "h", 1, "v", "c", 1.0, 2, "b", "l"),
        1.0,
        1.0,
        {"a:1": BackendCounts(1, 1, {1: 1})},
        waits={"a:1": Waits(1, 1.0)},
        reserves=Reserves((1, 2), LostLines(1, "p", "r"), (FileSystem(Use.LOG, "p", 1, 2),)),
        clients=ClientCounts(1.0, 1, {"10.0.0.1": 1}),
        refused_clients=ClientCounts(1.0, 1, {"10.0.0.1": 1}),
        uploads={"a:1": Uploads(1, 1, 1.0)},
    )
    documents = {
        "active": records.dump_active(ActiveHealth(Health.UP, 1, "r", 1.0, FailureCause.STATUS, 2.0)),
        "override": records.dump_override(override),
        "discovered": records.dump_backends([BACKEND]),
        "report": records.dump_report(report),
        "source": records.dump_source(SourceFailure("s", "r", 1.0)),
    }
    for name, document in documents.items():
        yield from (f"{name}.{path}" for path in fields(json.loads(document)))
    yield from (f"event.{name}" for name in ("kind", *fleet_records.EVENT_FIELDS))
    for kind in (Kind, Health, Mode):
        yield from (f"{kind.__name__} {value.value}" for value in kind)


def fields(document: Any) -> Iterator[str]:
    """The keys of a JSON document with their paths, without those that are the id of a backend."""
    if isinstance(document, list):
        for item in document:
            yield from fields(item)
    elif isinstance(document, dict):
        for name in document.keys() - {BACKEND.id}:
            yield name
            yield from (f"{name}.{inner}" for inner in fields(document[name]))


def log() -> Iterator[str]:
    """Every field that a log line may hold, and its fixed values."""
    yield from FIELDS
    for kind in (Blame, Stage, AnswerCause):
        yield from (f"{kind.__name__} {value.value}" for value in kind)


def measured() -> Iterator[str]:
    """Every metric with its labels."""
    for metric in definitions.ALL:
        yield f"{metric.full_name}{{{','.join(metric.labels)}}}"


PUBLIC = {
    "configuration": lambda: settings(Config),
    "command line": lambda: commands(main),
    "admin API": api,
    "Redis": redis,
    "log": log,
    "metrics": measured,
}


def listed() -> dict[str, list[str]]:
    """The list by section."""
    found: dict[str, list[str]] = {}
    for line in LIST.read_text("utf-8").splitlines():
        if line.startswith("# "):
            names = found.setdefault(line[2:], [])
        elif line:
            names.append(line)
    return found


def test_the_list_has_every_section() -> None:
    assert list(listed()) == list(PUBLIC)
    assert all(len(names) > 10 for names in listed().values())


@pytest.mark.parametrize("section", PUBLIC)
def test_public_names_change_only_on_purpose(section: str) -> None:
    now, before = sorted(set(PUBLIC[section]())), listed()[section]
    assert [name for name in before if name not in now] == [], "gone: users, dashboards or older versions need them"
    assert [name for name in now if name not in before] == [], "new: add them to tests/public_names.txt"


if __name__ == "__main__":  # writes the list anew
    text = "\n\n".join("\n".join([f"# {section}", *sorted(set(names()))]) for section, names in PUBLIC.items())
    LIST.write_text(text + "\n", "utf-8")
