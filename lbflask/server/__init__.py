"""Everything that depends on gunicorn: settings and hooks, reload without new workers, the worker class."""
