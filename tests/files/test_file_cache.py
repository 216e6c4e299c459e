from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbflask.core.http.file_answers import Representation
from lbflask.files.file_cache import MOST_BYTES, SETTLED, FileCache

KEY = ("/root", "a", "", False)
CONTENT = Representation(1, 0, 1000.0, [], [])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    return path


def cache(path: Path, later: float = 10.0, most: int = 1000) -> FileCache:
    """A cache so many seconds after the last change of the file."""
    return FileCache(lambda: path.stat().st_ctime + later, most)


def test_a_file_is_held_until_it_changes(path: Path) -> None:
    held = cache(path)
    held.add(KEY, path.stat(), b"x", CONTENT)
    found = held.find(KEY, path.stat())
    assert found is not None
    assert (found.content, found.representation) == (b"x", CONTENT)
    assert held.find(("/root", "b", "", False), path.stat()) is None
    assert repr(held) == "FileCache(1 files, 1 bytes)"


@pytest.mark.parametrize("change", ["content", "time", "mode", "inode"])
def test_any_change_counts(path: Path, change: str) -> None:
    held = cache(path)
    held.add(KEY, path.stat(), b"x", CONTENT)
    if change == "content":
        path.write_bytes(b"yy")
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "mode":
        path.chmod(0o200)
    else:
        other = path.with_name("b")
        other.write_bytes(b"x")
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.replace(path)
    assert held.find(KEY, path.stat()) is None


def test_a_file_that_has_just_changed_is_not_held(path: Path) -> None:
    """It could change once more within one tick of the file system's clock, and have the same times."""
    held = cache(path, SETTLED - 0.5)
    held.add(KEY, path.stat(), b"x", CONTENT)
    assert held.find(KEY, path.stat()) is None


def test_a_cache_of_no_size_holds_nothing(path: Path) -> None:
    held = cache(path, most=0)
    assert not held.add(KEY, path.stat(), b"x", CONTENT)
    assert held.find(KEY, path.stat()) is None


def test_a_large_file_is_not_held(path: Path) -> None:
    held = cache(path, most=10 * MOST_BYTES)
    held.add(KEY, path.stat(), b"x" * (MOST_BYTES + 1), CONTENT)
    assert held.find(KEY, path.stat()) is None
    held.add(KEY, path.stat(), b"x" * MOST_BYTES, CONTENT)
    assert held.find(KEY, path.stat()) is not None


def test_what_is_held_longest_leaves_when_the_cache_is_full(path: Path) -> None:
    held = cache(path, most=10)
    keys = [("/root", str(number), "", False) for number in range(4)]
    for key in keys:
        held.add(key, path.stat(), b"123", CONTENT)
    assert [held.find(key, path.stat()) is not None for key in keys] == [False, True, True, True]
    held.add(keys[3], path.stat(), b"1234", CONTENT)
    assert repr(held) == "FileCache(3 files, 10 bytes)"
