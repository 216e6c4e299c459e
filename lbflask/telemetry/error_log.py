"""The error log: messages of gunicorn and of lbflask, on standard error unless gunicorn's settings name a file.

Logging never blocks on the reader: a line about one bad request must not stop other requests, and a line that a signal
handler logs must not stop the master.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from functools import cache

from lbflask.telemetry.nonblocking_writer import NonBlockingWriter
from lbflask.telemetry.redaction import masked_message

#: Libraries that log errors with URLs from the configuration; their records go through the same handlers.
_LIBRARIES = ("opentelemetry", "urllib3", "requests")
#: Seconds between attempts to write buffered lines.
RETRY_INTERVAL = 0.05
#: Seconds without progress after which buffered lines are given up at the end.
CLOSE_TIMEOUT = 0.2
_LOSS = "# {} lines of the error log were dropped: they were not read in time\n"


class JSONLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `pid`, `message`, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, without a newline at the end."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": masked_message(record.getMessage()),
        }
        if record.exc_info:
            document["traceback"] = masked_message(self.formatException(record.exc_info))
        return json.dumps(document)


class MaskedLines(logging.Formatter):
    """Masks secrets in the output of another formatter: ours for text, or one of the operator's gunicorn settings."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The record as the inner formatter writes it, with secrets masked."""
        return masked_message(self._inner.format(record))


def formatter(form: str) -> logging.Formatter:
    """The formatter for the setting `error_log_format`: JSON, or the text of gunicorn."""
    if form == "json":
        return JSONLines()
    text = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    return MaskedLines(logging.Formatter(text, "[%Y-%m-%d %H:%M:%S %z]"))


class NonBlockingStreamHandler(logging.Handler):
    """Writes records to standard error without blocking; lines are buffered up to a limit, then dropped and counted.

    A thread writes the buffered lines. With `threads=False`, for a process that forks, the next record does.
    """

    def __init__(self, *, threads: bool = True) -> None:
        super().__init__()
        self._threads = threads
        self._writer = NonBlockingWriter("stderr")
        self._writer.open()
        self._retrying: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<NonBlockingStreamHandler {self._writer!r}>"

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler; called with the lock of the handler held."""
        try:
            text = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler treats a record that cannot be formatted
            self.handleError(record)
            return
        self._write(text)
        if self._threads and self._writer.pending and self._retrying is None:
            self._retrying = threading.Thread(target=self._retry_until_written, name="error-log", daemon=True)
            self._retrying.start()

    def close(self) -> None:
        """See logging.Handler."""
        self.acquire()
        try:
            self._writer.close(CLOSE_TIMEOUT)
        finally:
            self.release()
        super().close()

    def _write(self, text: str) -> None:
        self._writer.write(text.encode("utf-8", "backslashreplace"))

    def _retry_until_written(self) -> None:
        while self._retrying is not None:
            time.sleep(RETRY_INTERVAL)
            self.acquire()
            try:
                self._writer.flush()
                if not self._writer.pending:
                    self._retrying = None
                    if self._writer.dropped:
                        self._writer.report_loss(_LOSS.format)
            except BaseException:
                self._retrying = None  # the next record starts another thread
                raise
            finally:
                self.release()


def configure(form: str, *, threads: bool = True) -> None:
    """Make gunicorn's handlers for standard error non-blocking, and use its handlers for lbflask's loggers too."""
    gunicorn, lbflask = logging.getLogger("gunicorn.error"), logging.getLogger("lbflask")
    for number, handler in enumerate(gunicorn.handlers):
        if isinstance(handler, NonBlockingStreamHandler) or (
            type(handler) is logging.StreamHandler and handler.stream is sys.stderr
        ):
            replacement = _handler_of_process(os.getpid(), threads)
            replacement.setFormatter(formatter(form))
            replacement.__dict__["_gunicorn"] = True  # gunicorn replaces handlers with this mark at a reload
            gunicorn.handlers[number] = replacement
        elif not isinstance(handler.formatter, MaskedLines):
            handler.setFormatter(MaskedLines(handler.formatter or logging.Formatter()))
    for logger in (lbflask, *map(logging.getLogger, _LIBRARIES)):
        logger.handlers = list(gunicorn.handlers)
        logger.propagate = False


def shut_down() -> None:
    """Write the buffered lines and remove the handlers of this module.

    A worker's handler must not survive until interpreter shutdown, which clears gevent's replacements of threads first.
    """
    for name in ("gunicorn.error", "lbflask", *_LIBRARIES):
        logger = logging.getLogger(name)
        for handler in logger.handlers[:]:
            if isinstance(handler, NonBlockingStreamHandler):
                handler.close()
                logger.removeHandler(handler)
    _handler_of_process.cache_clear()


def configure_standalone(form: str) -> None:
    """Configure logging on standard error for a process without gunicorn."""
    handler = NonBlockingStreamHandler()
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@cache
def _handler_of_process(pid: int, threads: bool) -> NonBlockingStreamHandler:  # noqa: ARG001
    """One handler for each process: a forked worker must not write lines that the master has buffered."""
    return NonBlockingStreamHandler(threads=threads)
