"""The former import path of `lbflask.server.gunicorn_hooks`; it goes with the release after this one."""

import sys
import warnings

from lbflask.server import gunicorn_hooks

warnings.warn("lbflask.hosting is now lbflask.server.gunicorn_hooks", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = gunicorn_hooks
