"""The error log: what gunicorn and we have to say beside the requests, on standard error unless gunicorn was told else.

It never waits for its reader either: a line about one bad request must not stop the others, nor a signal's the master.
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

#: Libraries that log errors about URLs of settings, and would write them to standard error by themselves.
_LIBRARIES = ("opentelemetry", "urllib3", "requests")
#: Seconds between two attempts to write what a reader did not take.
RETRY_INTERVAL = 0.05
#: Seconds that a reader gets to take what is left at the end.
CLOSE_TIMEOUT = 0.2


class TextLines(logging.Formatter):
    """As gunicorn's own, without secrets."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] [%(levelname)s] %(message)s", "[%Y-%m-%d %H:%M:%S %z]")

    def format(self, record: logging.LogRecord) -> str:
        """The record, without the end of its last line."""
        return masked_message(super().format(record))


class JSONLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `pid`, `message`, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, without its end."""
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
    """As another formatter, without secrets: for logs that go where the operator's settings of gunicorn say."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The record, as the other one has it."""
        return masked_message(self._inner.format(record))


def formatter(form: str) -> logging.Formatter:
    """The formatter that the setting `error_log_format` means."""
    return JSONLines() if form == "json" else TextLines()


class NonBlockingStreamHandler(logging.Handler):
    """Writes records to standard error; what it does not take waits, up to a limit. Never blocks.

    What waits is written by a thread, or with the next record where there is to be none: a process that forks.
    """

    def __init__(self, *, threads: bool = True) -> None:
        super().__init__()
        self._threads = threads
        self._writer = NonBlockingWriter("stderr")
        self._writer.open()
        self._retrying: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler; called under its lock."""
        try:
            text = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - what logging does with a record that can't be formatted
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
                self._retry()
            except BaseException:
                self._retrying = None  # the next record begins another one
                raise
            finally:
                self.release()

    def _retry(self) -> None:
        self._writer.flush()
        if self._writer.pending:
            return
        self._retrying = None
        if dropped := self._writer.reset_dropped():
            self._write(f"# {dropped} lines of the error log were dropped: nobody read them in time\n")


def configure(form: str, *, threads: bool = True) -> None:
    """Make gunicorn's log one that never waits, where it goes to standard error, and let ours go where it goes."""
    gunicorn, ours = logging.getLogger("gunicorn.error"), logging.getLogger("lbflask")
    for number, handler in enumerate(gunicorn.handlers):
        if isinstance(handler, NonBlockingStreamHandler) or (
            type(handler) is logging.StreamHandler and handler.stream is sys.stderr
        ):
            replacement = _handler_of_process(os.getpid(), threads)
            replacement.setFormatter(formatter(form))
            replacement.__dict__["_gunicorn"] = True  # by which it knows what to replace at a reload
            gunicorn.handlers[number] = replacement
        elif not isinstance(handler.formatter, MaskedLines):
            handler.setFormatter(MaskedLines(handler.formatter or logging.Formatter()))
    for logger in (ours, *map(logging.getLogger, _LIBRARIES)):
        logger.handlers = list(gunicorn.handlers)
        logger.propagate = False


def shut_down() -> None:
    """Write what waits, and log no more. A worker's handler must not be left to the end of the interpreter, which takes
    apart what gevent has put in the place of threads before it takes apart the handler.
    """
    for name in ("gunicorn.error", "lbflask", *_LIBRARIES):
        logger = logging.getLogger(name)
        for handler in logger.handlers[:]:
            if isinstance(handler, NonBlockingStreamHandler):
                handler.close()
                logger.removeHandler(handler)
    _handler_of_process.cache_clear()


def configure_standalone(form: str) -> None:
    """Make the log of a process that gunicorn does not host: all of it, on standard error."""
    handler = NonBlockingStreamHandler()
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@cache
def _handler_of_process(pid: int, threads: bool) -> NonBlockingStreamHandler:  # noqa: ARG001
    """One for each process: what waits in the master is not a worker's to write."""
    return NonBlockingStreamHandler(threads=threads)
