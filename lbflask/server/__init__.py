"""Everything that knows gunicorn: its hooks, reload in place, and the worker."""
