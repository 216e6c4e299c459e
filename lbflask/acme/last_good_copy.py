"""The records on disk, sealed as in the store: what an instance serves by when it starts without its store."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lbflask.config.files import UnusableFile, read_bytes

#: Names of the file of records and of the generated key.
RECORDS, KEY = "certificates.json", "certificates.key"
#: Bytes of the file that are read.
MAX_BYTES = 16 << 20


class LastGoodCopy:
    """A file of records in a directory for this user alone. Several processes may write it: each write is whole."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / RECORDS

    def __repr__(self) -> str:
        return f"<LastGoodCopy {self.path}>"

    def read(self) -> dict[str, bytes]:
        """The records by name; none where there is no file, or one that is not ours."""
        try:
            content = json.loads(read_bytes(self.path, most=MAX_BYTES))
            return {str(name): str(record).encode("ascii") for name, record in content.items()}
        except (UnusableFile, ValueError, AttributeError, RecursionError):
            return {}

    def write(self, records: Mapping[str, bytes]) -> None:
        """Replace the records, unless they are the same. Raises OSError."""
        content = json.dumps({name: record.decode("ascii", "replace") for name, record in sorted(records.items())})
        try:
            if read_bytes(self.path, most=MAX_BYTES) == content.encode():
                return
        except UnusableFile:
            pass
        write_private(self.path, content.encode())


def generated_key(directory: Path) -> str:
    """The key in this directory, made by the first process that needs it: all get the same. Raises OSError."""
    path = directory / KEY
    make_private(directory)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".key-") as draft:  # mode 0600
        draft.write(os.urandom(32).hex().encode())
        draft.flush()
        os.fsync(draft.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft.name, path)
    return path.read_text("ascii").strip()


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, for this user alone (mode 0600). Raises OSError."""
    make_private(path.parent)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def make_private(directory: Path) -> None:
    """Make the directory, for this user alone, unless it exists. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
