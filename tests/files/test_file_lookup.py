from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lbflask.build import Build, build
from lbflask.files.document_root import DocumentRoot, IsDirectory, NoFile, OpenFile
from lbflask.files.file_cache import MOST_BYTES, FileCache
from lbflask.files.file_lookup import MOST_RECENT, RECENT, FileLookup, ServedFile
from lbflask.files.file_region import TruncatedFile

PAST = 1_700_000_000
NOW = PAST + 1e9


class Clock:
    """A clock that is set by hand."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def write(path: Path, content: bytes, age: int = 0) -> None:
    path.write_bytes(content)
    os.utime(path, (PAST - age, PAST - age))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dir").mkdir()
    write(tmp_path / "a.css", b"plain", age=10)
    write(tmp_path / "dir" / "b.bin", b"x" * (MOST_BYTES + 1))
    return tmp_path


def source(
    root: Path, *, precompressed: bool = True, cache_control: str = "", clock: Callable[[], float] = lambda: NOW
) -> FileLookup:
    types = {".bin": "application/x-mine"}
    cache = FileCache(clock)
    return FileLookup(
        DocumentRoot(str(root)), cache, precompressed=precompressed, types=types, cache_control=cache_control
    )


def fields(served: ServedFile) -> dict[str, str]:
    if served.file is not None:
        served.file.close()
    return dict(served.representation.whole().fields)


def test_a_small_file_is_read_at_once_and_held(root: Path) -> None:
    files = source(root)
    found = files.find(["a.css"], None)
    assert (found.content, found.file) == (b"plain", None)
    assert fields(found)["Content-Type"] == "text/css; charset=utf-8"
    assert files.find(["a.css"], None).content is found.content
    assert str(root) in repr(files)


def test_a_held_file_that_changes_is_read_again_within_a_second(root: Path) -> None:
    clock = Clock()
    files = source(root, clock=clock)
    files.find(["a.css"], None)
    write(root / "a.css", b"other")
    clock.now += RECENT - 0.1
    assert files.find(["a.css"], None).content == b"plain"
    assert files.find(["a.css"], "gzip").content == b"other"
    clock.now += 0.1
    assert files.find(["a.css"], None).content == b"other"
    (root / "a.css").unlink()
    clock.now += RECENT
    with pytest.raises(NoFile):
        files.find(["a.css"], None)


def test_a_held_file_that_becomes_a_link_out_is_no_longer_served(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock = Clock()
    files = source(root, clock=clock)
    files.find(["a.css"], None)
    clock.now += RECENT
    outside = tmp_path_factory.mktemp("outside") / "secret"
    write(outside, b"plain", age=10)
    (root / "a.css").unlink()
    (root / "a.css").symlink_to(outside)
    with pytest.raises(NoFile):
        files.find(["a.css"], None)


def test_a_clock_that_is_set_back_makes_no_lookup_last(root: Path) -> None:
    clock = Clock()
    files = source(root, clock=clock)
    files.find(["a.css"], None)
    write(root / "a.css", b"other")
    clock.now -= 0.1
    assert files.find(["a.css"], None).content == b"other"


def test_only_so_many_lookups_are_remembered(root: Path) -> None:
    files = source(root)
    files.find(["a.css"], "gzip")
    for number in range(MOST_RECENT):
        files.find(["a.css"], f"x{number}")
    write(root / "a.css", b"other")
    assert files.find(["a.css"], "gzip").content == b"other"


def test_a_large_file_stays_open(root: Path) -> None:
    found = source(root).find(["dir", "b.bin"], None)
    assert found.file is not None
    assert found.content == b""
    assert fields(found)["Content-Type"] == "application/x-mine"


def test_cache_fields_are_those_of_the_configuration(root: Path) -> None:
    assert fields(source(root, cache_control="max-age=60").find(["a.css"], None))["Cache-Control"] == "max-age=60"
    assert "Cache-Control" not in fields(source(root).find(["a.css"], None))


def test_a_precompressed_sibling_is_served_to_those_who_accept_it(root: Path) -> None:
    write(root / "a.css.gz", b"gz")
    write(root / "a.css.br", b"br")
    files = source(root)
    for accept, content, coding in [
        ("gzip, br", b"br", "br"),
        ("gzip", b"gz", "gzip"),
        ("zstd", b"plain", None),
        (None, b"plain", None),
        ("br;q=0, gzip;q=0.5", b"gz", "gzip"),
    ]:
        found = files.find(["a.css"], accept)
        assert (found.content, fields(found).get("Content-Encoding")) == (content, coding)
        assert fields(found)["Content-Type"] == "text/css; charset=utf-8"
        assert fields(found)["Vary"] == "Accept-Encoding"


def test_a_file_without_siblings_does_not_vary(root: Path) -> None:
    assert "Vary" not in fields(source(root).find(["a.css"], "gzip"))
    write(root / "a.css.gz", b"gz")
    found = source(root, precompressed=False).find(["a.css"], "gzip")
    assert found.content == b"plain"
    assert "Vary" not in fields(found)


def test_a_sibling_that_is_older_than_its_file_is_not_served(root: Path) -> None:
    write(root / "a.css.gz", b"gz", age=11)
    assert source(root).find(["a.css"], "gzip").content == b"plain"
    write(root / "a.css.gz", b"gz", age=10)
    assert source(root).find(["a.css"], "gzip").content == b"gz"


def test_a_sibling_needs_a_file(root: Path) -> None:
    write(root / "b.css.gz", b"gz")
    with pytest.raises(NoFile):
        source(root).find(["b.css"], "gzip")


@pytest.mark.parametrize("kind", ["directory", "link out", "dangling link"])
def test_a_sibling_that_is_no_file_of_the_root_is_not_served(
    root: Path, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sibling = root / "a.css.gz"
    if kind == "directory":
        sibling.mkdir()
    elif kind == "link out":
        outside = tmp_path_factory.mktemp("outside") / "secret"
        write(outside, b"secret")
        sibling.symlink_to(outside)
    else:
        sibling.symlink_to("no")
    assert source(root).find(["a.css"], "gzip").content == b"plain"


@pytest.mark.parametrize("names", [[], ["dir"]])
def test_a_directory_is_said_to_be_one(root: Path, names: list[str]) -> None:
    with pytest.raises(IsDirectory):
        source(root).find(names, "gzip")


def test_the_clock_is_that_of_the_cache(root: Path) -> None:
    assert source(root).clock() == NOW


def test_each_of_the_lookups_that_share_a_cache_states_its_own(root: Path) -> None:
    cache = FileCache(lambda: NOW)
    stated: list[tuple[dict[str, str], str]] = [({}, "immutable"), ({}, "no-cache"), ({".css": "text/x"}, "no-cache")]
    lookups = [
        FileLookup(DocumentRoot(str(root)), cache, precompressed=False, types=types, cache_control=control)
        for types, control in stated
    ]
    for _ in range(2):
        for (types, control), files in zip(stated, lookups, strict=True):
            found = fields(files.find(["a.css"], None))
            assert found["Cache-Control"] == control
            assert found["Content-Type"] == types.get(".css", "text/css; charset=utf-8")


class Denying(DocumentRoot):
    """A root whose precompressed files cannot be opened."""

    def __init__(self, path: str, error: Exception) -> None:
        super().__init__(path)
        self.error = error

    def open(self, names: Sequence[str]) -> OpenFile:
        if names[-1].endswith(".gz"):
            raise self.error
        return super().open(names)


@pytest.mark.skipif(build() is Build.COMPILED, reason="nothing inherits from a compiled class")
@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "denied"), OSError(errno.EIO, "the disk"), IsDirectory(), TruncatedFile()]
)
def test_a_sibling_that_cannot_be_read_leaves_the_file_as_it_is(root: Path, error: Exception) -> None:
    write(root / "a.css.gz", b"gz")
    files = FileLookup(Denying(str(root), error), FileCache(lambda: NOW), precompressed=True, types={})
    found = files.find(["a.css"], "gzip")
    assert (found.content, fields(found).get("Content-Encoding")) == (b"plain", None)
    assert fields(found)["Vary"] == "Accept-Encoding"
