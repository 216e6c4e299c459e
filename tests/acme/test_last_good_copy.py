from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lbflask.acme.last_good_copy import KEY, RECORDS, LastGoodCopy, generated_key


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_by_this_user_alone(tmp_path: Path) -> None:
    copy = LastGoodCopy(tmp_path / "of" / "fleet")
    assert copy.read() == {}
    copy.write({"account": b"v1.a", "certificate:shop.example": b"v1.b"})
    assert copy.read() == {"account": b"v1.a", "certificate:shop.example": b"v1.b"}
    assert (mode(copy.path), mode(copy.path.parent)) == (0o600, 0o700)
    assert [path.name for path in copy.path.parent.iterdir()] == [RECORDS], "no draft is left"


def test_the_same_is_not_written_again(tmp_path: Path) -> None:
    copy = LastGoodCopy(tmp_path)
    copy.write({"a": b"1"})
    first = copy.path.stat().st_ino
    copy.write({"a": b"1"})
    assert copy.path.stat().st_ino == first
    copy.write({"a": b"2"})
    assert copy.read() == {"a": b"2"}


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '"a"', '{"a": "ö"}', "[" * 100_000])
def test_another_content_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORDS).write_text(content, "utf-8")
    assert LastGoodCopy(tmp_path).read() == {}


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LastGoodCopy(tmp_path / "file" / "inside").write({})


def test_all_who_need_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    directory = tmp_path / "of" / "fleet"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: generated_key(directory), range(40)))
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert (mode(directory / KEY), mode(directory)) == (0o600, 0o700)
    assert [path.name for path in directory.iterdir()] == [KEY]
