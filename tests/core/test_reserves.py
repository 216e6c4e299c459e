from __future__ import annotations

import errno

import pytest

from lbflask.core.reserves import FileSystem, LossCause, Use, cause_of


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, LossCause.NO_ROOM),
        (errno.EDQUOT, LossCause.NO_ROOM),
        (errno.EFBIG, LossCause.NO_ROOM),
        (errno.EPIPE, LossCause.NO_READER),
        (errno.EIO, LossCause.OTHER),
        (None, LossCause.OTHER),
    ],
)
def test_the_cause_of_a_failed_write(number: int | None, cause: LossCause) -> None:
    assert cause_of(number) is cause


def test_a_cause_of_a_later_version_is_another_one() -> None:
    assert LossCause("cosmic_rays") is LossCause.OTHER
    assert LossCause("no_room") is LossCause.NO_ROOM


MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("free", "size", "scarce"),
    [
        (3 * MIB, 64 * MIB, True),
        (4 * MIB, 64 * MIB, False),
        (255 * MIB, 1000 * GIB, True),
        (256 * MIB, 1000 * GIB, False),
        (0, MIB, True),
    ],
)
def test_a_file_system_is_nearly_full_below_a_share_and_a_size(free: int, size: int, scarce: bool) -> None:
    assert FileSystem(Use.LOG, "/var/log", free, size).is_scarce is scarce


def test_a_use_of_a_later_version_is_another_one() -> None:
    assert (Use("log"), Use("attic")) == (Use.LOG, Use.OTHER)
