"""gunicorn's configuration for lbflask: `gunicorn -c gunicorn.conf.py lbflask.wsgi`.

The settings come from lbflask's own configuration (lbflask.toml, LBFLASK_…); the number of workers from gunicorn's
WEB_CONCURRENCY or --workers. Any of gunicorn's settings may be set below, where it wins, or on its command line.
"""

from lbflask.server.gunicorn_hooks import gunicorn_settings

globals().update(gunicorn_settings())
