"""gunicorn.conf.py of an installed package: `gunicorn -c python:lbflask.gunicorn_conf lbflask.wsgi`.

gunicorn imports it once, so lbflask/server/gunicorn_hooks.py renews its values at a reload; a file is read anew by
gunicorn itself.
"""

from lbflask.server.gunicorn_hooks import gunicorn_settings

globals().update(gunicorn_settings())
