"""The TLS context of the listeners, made by gunicorn's master and inherited by its workers.

Session tickets are encrypted with keys that OpenSSL draws at random for each context and keeps in it (RFC 5077, RFC
8446 §4.6.1). A client that returns reaches any worker, so all need the same keys, and therefore the same context.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from gunicorn.sock import ssl_context as stock_context

#: Makes the context of gunicorn's settings. Raises OSError or ValueError.
MakeContext = Callable[[Any], ssl.SSLContext]


class InheritedContext:
    """The context of the latest of gunicorn's settings, by `make`. A reload that starts new workers brings new
    settings, which by gunicorn's own `make` get a new context, with the present files and with new keys.
    """

    def __init__(self, make: MakeContext = stock_context) -> None:
        self._settings: Any = None
        self._context: ssl.SSLContext | None = None
        self._make = make

    def set_make(self, make: MakeContext) -> None:
        """Make contexts in another way from now on."""
        self._make = make

    def __repr__(self) -> str:
        return f"<InheritedContext {self._context}>"

    def prepare(self, cfg: Any) -> None:
        """Load the files of these settings once, before the fork of a worker.

        Files that cannot be loaded are left to the worker, whose start then fails: the master must survive them.
        """
        if cfg.is_ssl and self._settings is not cfg:
            try:
                self._settings, self._context = cfg, self._make(cfg)
            except (OSError, ValueError):
                self._settings = None

    def of(self, cfg: Any) -> ssl.SSLContext | None:
        """The context of these settings, None without TLS. Raises OSError."""
        if not cfg.is_ssl:
            return None
        made = self._context if self._settings is cfg else None
        return made or self._make(cfg)


INHERITED_CONTEXT = InheritedContext()

__all__ = ["INHERITED_CONTEXT", "InheritedContext", "MakeContext", "stock_context"]
