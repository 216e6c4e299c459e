"""Error pages from files. They are read with the configuration, so that a missing file is an error at once, and no
request waits for a disk.
"""

from __future__ import annotations

from pathlib import Path

from lbflask.config.files import UnusableFile, read_bytes
from lbflask.core.http.direct_response import ErrorPage

#: Maximum bytes of a page: each worker holds all pages in memory.
MOST_BYTES = 1 << 20
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
