"""The WSGI application: `gunicorn -c gunicorn.conf.py lbflask.wsgi`.

Nothing is connected or started here: each worker does so after the fork.
"""

from __future__ import annotations

import sys

from lbflask.config.load import ConfigError, current
from lbflask.wiring.balancer import Balancer

try:
    application = Balancer(current()).app
except ConfigError as error:
    sys.exit(f"lbflask: {error}")
