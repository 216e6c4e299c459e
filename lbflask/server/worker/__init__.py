"""The gunicorn worker: gunicorn's gevent worker with a connection loop made for proxying.

The only package that knows gunicorn's internals; it imports nothing else of lbflask. It keeps gunicorn's parsers and
their checks, and replaces the loop around them: settings are read once per worker, a head must arrive within one
deadline, header fields keep order, case and repeats, `100 Continue` is sent when the body is read, the head of a
response is sent with the first piece of its body, and an incomplete response ends with a reset. It runs any WSGI
application.
"""

from lbflask.server.worker.arbiter_signals import (
    BadSettings,
    changed_settings,
    notify_workers,
    on_hang_up,
    on_notification,
)
from lbflask.server.worker.arbiter_startup import (
    addresses,
    exit_children_that_boot,
    exiting_at_once,
    halt_once,
    is_ending,
    is_supported,
    run_in_child,
    source_of,
    undo_startup,
)
from lbflask.server.worker.client_connection import ClientTimeouts
from lbflask.server.worker.lookup_threads import allow_lookups
from lbflask.server.worker.proxy_worker import ProxyWorker, WorkerOptions
from lbflask.server.worker.server_log import ServerLog
from lbflask.server.worker.settings import end_gracefully_on_interrupt

__all__ = [
    "BadSettings",
    "ClientTimeouts",
    "ProxyWorker",
    "ServerLog",
    "WorkerOptions",
    "addresses",
    "allow_lookups",
    "changed_settings",
    "end_gracefully_on_interrupt",
    "exit_children_that_boot",
    "exiting_at_once",
    "halt_once",
    "is_ending",
    "is_supported",
    "notify_workers",
    "on_hang_up",
    "on_notification",
    "run_in_child",
    "source_of",
    "undo_startup",
]
