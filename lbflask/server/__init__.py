"""Everything that knows gunicorn: settings and hooks, reload without new workers, the worker class."""
