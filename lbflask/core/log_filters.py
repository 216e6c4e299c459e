"""Which requests have a line in the access log."""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.paths import plain_path
from lbflask.core.route_match import is_below


@dataclass(frozen=True, slots=True)
class LogFilter:
    """The requests that are logged: with one of the `statuses`, or slower than `slower_than` seconds; all, if neither
    is given. Of these, those below one of the `paths`, if there are any, and below none of the paths `except_paths`.

    Paths are prefixes in whole segments, without a slash at their ends.
    """

    statuses: frozenset[int] = frozenset()
    slower_than: float | None = None
    paths: tuple[str, ...] = ()
    except_paths: tuple[str, ...] = ()

    def takes(self, status: int, seconds: float, target: str) -> bool:
        """Whether a request with this status, duration and target is logged."""
        if self.statuses or self.slower_than is not None:
            is_slow = self.slower_than is not None and seconds > self.slower_than
            if not is_slow and status not in self.statuses:
                return False
        if not self.paths and not self.except_paths:
            return True
        path = plain_path(_path_of(target))
        if self.paths and not any(is_below(path, prefix) for prefix in self.paths):
            return False
        return not any(is_below(path, prefix) for prefix in self.except_paths)


def _path_of(target: str) -> str:
    """The path of a target in origin-form or in absolute-form (RFC 9112 §3.2)."""
    path = target.partition("?")[0]
    if path.startswith("/"):
        return path
    slash = path.find("/", path.find("://") + 3) if "://" in path else -1
    return path[slash:] if slash >= 0 else "/"
