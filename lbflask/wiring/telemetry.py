"""A worker's telemetry, joined: who reads what happens, and their beginning and end."""

from __future__ import annotations

from lbflask.config.schema import Config
from lbflask.telemetry.access_log import AccessLog
from lbflask.telemetry.events import Listener
from lbflask.telemetry.journal import Journal, Reader
from lbflask.telemetry.lines import format_of


class Telemetry:
    """What of a worker's doings is told to whom. What is not configured is not there."""

    def __init__(self, config: Config) -> None:
        self._access_log = _access_log(config)
        readers: list[Reader] = []
        if self._access_log is not None:
            readers.append(self._access_log)
        self._journal = Journal(readers) if readers else None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who is to be told of each request."""
        return () if self._journal is None else (self._journal,)

    def start(self) -> None:
        """Begin. Raises OSError when a log can't be opened."""
        self.reopen_logs()
        if self._journal is not None:
            self._journal.start()

    def reopen_logs(self) -> None:
        """Follow a rotated log. Raises OSError, and goes on with the old one, when it can't."""
        if self._access_log is not None:
            self._access_log.open()

    def stop(self) -> None:
        """Tell what is left, and close the logs."""
        if self._journal is not None:
            self._journal.stop()
        if self._access_log is not None:
            self._access_log.close()


def _access_log(config: Config) -> AccessLog | None:
    return AccessLog(config.access_log, format_of(config.access_log_format)) if config.access_log else None
