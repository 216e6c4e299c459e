"""Findings about what instances run out of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Final

from lbflask.control.api.models import FileSystemView, Finding, InstanceView, LostLinesView, StateView
from lbflask.control.doctor.findings import warning
from lbflask.core.reserves import LossCause, Use

#: What helps against lost lines. `host` is that of the instance, `folder` that of the log.
_LOST_LINES: Final[Mapping[LossCause, str]] = MappingProxyType(
    {
        LossCause.NO_ROOM: "on {host}: `df -h {folder}` shows the file system, `du -xh {folder} | sort -h | tail` what "
        "fills it: free room, or rotate the log sooner; lines are written again as soon as there is room",
        LossCause.NO_READER: "on {host}: start the reader of {log}; lines are written again as soon as it reads",
        LossCause.SLOW_READER: "on {host}: the reader of {log} hangs or is too slow: restart it, or set `access_log` "
        "to a file and `lbflask reload`",
        LossCause.OVERLOAD: "the workers of {host} are overloaded: add workers or instances",
    }
)
#: What is in a file system, and what happens when it is full.
_EFFECTS: Final[Mapping[Use, tuple[str, str]]] = MappingProxyType(
    {
        Use.LOG: ("the access log", "its lines are lost"),
        Use.SHARED: ("what the workers share", "workers crash (SIGBUS) or do not start"),
        Use.SPOOL: ("what buffers put into files", "bodies stream, and slow clients hold backends"),
        Use.OTHER: ("what the instance writes", "writes fail"),
    }
)
_ANY_LOST_LINES: Final = "on {host}: `ls -ld {folder} {log}` and the system's log show what refuses writes"


def reserve_findings(state: StateView) -> Iterator[Finding]:
    """All findings about reserves, by instance."""
    for instance in state.fleet.instances:
        if instance.lost_log_lines is not None:
            yield _lost_lines(instance, instance.lost_log_lines)
        for file_system in instance.nearly_full:
            if not (file_system.use is Use.LOG and instance.lost_log_lines is not None):  # then that has been said
                yield _nearly_full(instance, file_system)


def _lost_lines(instance: InstanceView, lost: LostLinesView) -> Finding:
    log = "standard output" if lost.path == "-" else lost.path
    lines = "1 line of the access log was" if lost.count == 1 else f"{lost.count} lines of the access log were"
    advice = _LOST_LINES.get(lost.cause, _ANY_LOST_LINES)
    return warning(
        f"instance {instance.name}",
        f"{lines} lost in the last minute: {lost.reason} ({log})",
        advice.format(host=instance.host, folder=PurePath(lost.path).parent, log=log),
    )


def _nearly_full(instance: InstanceView, scarce: FileSystemView) -> Finding:
    free, size = scarce.free / 2**20, scarce.size / 2**20
    what, effect = _EFFECTS[scarce.use]
    return warning(
        f"instance {instance.name}",
        f"{free:.0f} of {size:.0f} MiB are free where {what} is ({scarce.path}): without room {effect}",
        f"on {instance.host}: `df -h {scarce.path}` shows the file system, `du -xh $(stat -c %m {scarce.path}) | "
        "sort -h | tail` what fills it: free room, or enlarge it",
    )
