"""Configurations with one fault: each is one line as an error, or a result that is TOML."""

from __future__ import annotations

import copy
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fuzz.properties.imports import imported_files
from lbflask.cli.import_command import READERS
from lbflask.importers.site import UnreadableConfiguration
from tests.importers.test_configurations import NAMES, files_of, proxy_of

_WORDS = (
    '"',
    "",
    "{",
    "0",
    "}",
    "-1",
    ";",
    "x",
    "*",
    "9" * 20,
    "[",
    "é\u2028",
    "(?",
    "a:b",
    "%[",
    "$x",
    "\\",
    "~",
    "::",
)
_SIGNS = ("²", "9" * 5000, "\ufffd", "٣", "-", "", "\\")
_VALUES = ("text", 7, None, [], ["x"], True, {}, [None], {"a": 1}, "", 1.5, [{}], {"a": None}, -1, [[1]], {"a": {}})


@pytest.mark.sampled(4, 1)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_configuration_is_read_or_refused(name: str, tmp_path: Path) -> None:
    files = [str(shutil.copy(file, tmp_path)) for file in files_of(name)]
    for file in map(Path, files):
        text = file.read_text("utf-8")
        for damaged in itertools.chain(damaged_texts(text), damaged_documents(file, text)):
            file.write_text(damaged, "utf-8")
            imported_files(READERS[proxy_of(name)], files)
        file.write_text(text, "utf-8")


def damaged_texts(text: str) -> Iterator[str]:
    """The text with each word in turn exchanged, with the last sign of each, and without each line."""
    words, signs = itertools.cycle(_WORDS), itertools.cycle(_SIGNS)
    for found in re.finditer(r"\S+", text):
        yield text[: found.start()] + next(words) + text[found.end() :]
    for found in re.finditer(r"\w\b", text):
        yield text[: found.start()] + next(signs) + text[found.end() :]
    lines = text.splitlines(keepends=True)
    yield from ("".join(lines[:number] + lines[number + 1 :]) for number in range(len(lines)))


def damaged_documents(file: Path, text: str) -> Iterator[str]:
    """The document of YAML with each value in turn exchanged for one of another kind."""
    values = itertools.cycle(_VALUES)
    document = yaml.safe_load(text) if file.suffix in (".yaml", ".yml") else {}
    for place in places(document):
        damaged = copy.deepcopy(document)
        table = damaged
        for key in place[:-1]:
            table = table[key]
        table[place[-1]] = next(values)
        yield yaml.safe_dump(damaged)


def places(values: Any) -> Iterator[tuple[Any, ...]]:
    """The keys of each value in the tables and lists."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield (key,)
        yield from ((key, *inner) for inner in places(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http: {routers: {a: text}}", "http.routers.a is no table of settings"),
        ("http: {routers: [a]}", "http.routers is no table of settings"),
        ("tcp: {services: {a: 1}}", "tcp.services.a is no table of settings"),
        ("http: 1", "http is no table of settings"),
        ("services: {a: {labels: {traefik.http.routers: x}}}", "http.routers is no table of settings"),
        (
            "services: {a: {labels: {traefik.http.services.a.loadbalancer: x}}}",
            "http.services.a.loadbalancer is no table of settings",
        ),
        (f"services: {{a: {{labels: [traefik.{'a.' * 5000}b=x]}}}}", "has too many tables within tables"),
        (
            "services: {a: {labels: [traefik.http.routers=x, traefik.http.routers.a.rule=y]}}",
            "label traefik.http.routers.a.rule: one of its names has a value of its own and labels below it",
        ),
        (
            "services: {a: {labels: [traefik.http.routers.a.rule=y, traefik.http.routers=x]}}",
            "label traefik.http.routers: one of its names has a value of its own and labels below it",
        ),
    ],
)
def test_a_value_in_the_place_of_a_table_is_refused_with_its_key(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "traefik.yaml"
    file.write_text(text)
    with pytest.raises(UnreadableConfiguration, match=f"^{re.escape(f'{file}: {message}')}$"):
        READERS["traefik"]([str(file)])


def test_an_empty_section_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "traefik.yaml"
    file.write_text("http:\n  routers:\ntcp:\n")
    imported_files(READERS["traefik"], [str(file)])
