"""gunicorn.conf.py for who has no checkout: give gunicorn the path of this file, so that it reads it anew at SIGHUP."""

from lbflask.hosting import gunicorn_settings

globals().update(gunicorn_settings())
