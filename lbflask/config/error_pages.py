"""Error pages from files. They are read with the configuration, so that a missing file is an error at once, and no
request waits for a disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from lbflask.config.files import UnusableFile, read_bytes
from lbflask.core.http.direct_response import ErrorPage

#: Maximum bytes of a page: each worker holds all pages in memory.
MOST_BYTES = 1 << 20
#: The statuses of responses that lbflask makes by itself: of requests that it rejects, of files, and of failures.
OF_LOCAL_REPLIES = frozenset(
    {400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 416, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505}
)
#: Content types by the suffix of the file's name.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".xml": "application/xml",
    ".svg": "image/svg+xml",
}


def read_page(where: str, path: str, content_type: str = "") -> ErrorPage:
    """The page in the file. Raises ValueError, which names the setting `where`."""
    kind = content_type or CONTENT_TYPES.get(Path(path).suffix.lower(), "")
    if not kind:
        known = ", ".join(CONTENT_TYPES)
        raise ValueError(f"{where}: {path!r}: its name implies no content type; it should end in {known}")
    try:
        return ErrorPage(kind, read_bytes(path, most=MOST_BYTES))
    except UnusableFile as error:
        raise ValueError(f"{where}: {path!r} {error}") from None


def check_pages_used(levels: Iterable[tuple[str, Collection[int], str | None]]) -> None:
    """Raises ValueError, which names the setting, for a page that no response gets. `levels` has the beginning of the
    names of each table, the statuses of its pages, and its `error_pages_for`.
    """
    levels = tuple(levels)
    if any(scope == "all" for _, _, scope in levels):
        return  # a page of any level may be one of backends' responses
    for where, statuses, _ in levels:
        for status in statuses:
            if status not in OF_LOCAL_REPLIES:
                raise ValueError(
                    f"{where}error_pages.{status}: no response of lbflask itself has this status; for those of backends"
                    ' set error_pages_for = "all"'
                )
