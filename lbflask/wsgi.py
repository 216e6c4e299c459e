"""The WSGI application: `gunicorn -c gunicorn.conf.py lbflask.wsgi`.

Each worker imports this module after the fork. The import neither connects to anything nor starts background work.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from lbflask.startup_failure import refuse, refuse_as_one

_hooks = sys.modules.get("lbflask.server.gunicorn_hooks")
if _hooks is None and "gunicorn.arbiter" in sys.modules:
    _settings = Path(__file__).with_name("gunicorn_conf.py")
    refuse_as_one(f"gunicorn runs without lbflask's settings; start it with: gunicorn -c {_settings} lbflask.wsgi")

with nullcontext() if _hooks is None else _hooks.loading() as _port:
    from lbflask.config.load import ConfigError, current
    from lbflask.wiring.worker_runtime import WorkerRuntime

    try:
        application = WorkerRuntime(current(), _port).app
    except ConfigError as error:
        refuse(error)
