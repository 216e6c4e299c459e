"""Backends in a file that somebody changes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lbflask.config.load import read_backends
from lbflask.core.discovery import DiscoveredBackend
from lbflask.discovery import file as module
from lbflask.discovery.file import FileSource
from lbflask.discovery.source import DiscoveryFailure


def read(path: Path) -> tuple[DiscoveredBackend, ...]:
    return tuple(DiscoveredBackend(backend.to_model()) for backend in read_backends(path))


class Desk:
    """A file, its source, and how often it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.on_read: Callable[[], object] = lambda: None
        self.source = FileSource(path, self._read, every=7.0)

    def _read(self, path: Path) -> tuple[DiscoveredBackend, ...]:
        self.reads += 1
        found = read(path)
        self.on_read()
        return found

    def write(self, *urls: str) -> None:
        self.path.write_text(f"backends = {json.dumps(urls)}")

    def ask(self) -> list[str]:
        answer = asyncio.run(self.source.ask())
        assert (answer.good_for, answer.doubt) == (7.0, "")
        return [one.backend.url for one in answer.found]

    def refusal(self) -> str:
        with pytest.raises(DiscoveryFailure) as refused:
            self.ask()
        return str(refused.value)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(module, "SETTLED_FOR", 0.001)
    return Desk(tmp_path / "backends.toml")


def test_a_file_is_read_when_it_has_changed_and_only_then(desk: Desk) -> None:
    desk.write("http://a:1", "http://b:2")
    assert [desk.ask(), desk.ask()] == [["http://a:1", "http://b:2"]] * 2
    assert desk.reads == 1
    desk.write("http://c:3")
    assert [desk.ask(), desk.ask()] == [["http://c:3"]] * 2
    assert desk.reads == 2


def test_another_file_by_the_same_name_is_noticed_though_it_is_as_long_and_as_old(desk: Desk) -> None:
    desk.write("http://a:1")
    desk.ask()
    before = desk.path.stat()
    other = desk.path.with_suffix(".new")
    other.write_text('backends = ["http://b:1"]')
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(desk.path)
    assert desk.ask() == ["http://b:1"]


def test_a_file_that_names_no_backends_has_none(desk: Desk) -> None:
    desk.write()
    assert desk.ask() == []


def test_a_file_that_is_wrong_is_no_answer_and_is_read_again(desk: Desk) -> None:
    desk.path.write_text('backends = ["http://a:1"\n')
    assert desk.refusal().startswith("is not TOML: ")
    desk.write("http://a:1")
    assert desk.ask() == ["http://a:1"]
    desk.path.write_text('backends = ["http://a:1", { url = "http://b:2", weight = 1000 }]')
    assert desk.refusal() == "line 1: backends[1].weight = 1000: input should be less than or equal to 256"


def test_a_file_that_is_not_there_is_no_answer(desk: Desk) -> None:
    assert desk.refusal() == "cannot be read: No such file or directory"
    desk.write("http://a:1")
    assert desk.ask() == ["http://a:1"]
    desk.path.unlink()
    assert desk.refusal() == "cannot be read: No such file or directory"


def test_a_file_that_changes_while_it_is_read_is_read_again(desk: Desk) -> None:
    desk.write("http://a:1")

    def meanwhile() -> None:
        desk.on_read = lambda: None
        desk.write("http://a:1", "http://b:2")

    desk.on_read = meanwhile
    assert desk.ask() == ["http://a:1", "http://b:2"]
    assert desk.reads == 2


def test_a_file_that_is_written_all_the_while_is_no_answer(desk: Desk) -> None:
    desk.write("http://a:1")
    desk.on_read = lambda: desk.write("http://a:1", *[f"http://b:{number}" for number in range(1, desk.reads + 1)])
    assert desk.refusal() == "is being written all the while"


def test_a_source_is_called_by_its_url(tmp_path: Path) -> None:
    assert str(FileSource(Path("/etc/backends.toml"), read)) == "file:/etc/backends.toml"
