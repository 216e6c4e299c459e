"""gunicorn.conf.py of an installed package: `gunicorn -c python:lbflask.gunicorn_conf lbflask.wsgi`.

gunicorn imports this module once, so lbflask/server/gunicorn_hooks.py updates its values at a reload; a configuration
file is read again by gunicorn itself.
"""

from lbflask.server.gunicorn_hooks import gunicorn_settings

globals().update(gunicorn_settings())
