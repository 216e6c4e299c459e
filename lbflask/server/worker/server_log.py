"""gunicorn's error log."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn.glogging import Logger

from lbflask.server.worker.proxy_worker import ProxyWorker

#: What gunicorn logs of an address that it cannot open, after each of some attempts and in the end.
_UNOPENED = re.compile(
    r"(?:connection to|Can't connect to) \('(?P<host>[^']*)', (?P<port>\d+)(?:, .*?)?\)(?: failed: (?P<reason>.*))?"
)
_GIVEN_UP = "gunicorn has given up; end the process that has the address (`ss -ltnp` names it), or choose another one"


class ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's log, with a change of its handlers after each `setup`."""

    _changes: ClassVar[tuple[Callable[[], None], ...]] = ()
    _admin_listener: ClassVar[str] = ""
    _plain_listeners: ClassVar[frozenset[str]] = frozenset()
    _has_tls = False
    _is_stock = False  # whether the workers are those of gunicorn, which have TLS on all listeners or on none

    @classmethod
    def set_change(cls, change: Callable[[], None]) -> None:
        """Call this after each `setup` from now on: gunicorn makes the log itself, at its start and at each reload."""
        cls._changes = (change,)

    @classmethod
    def set_listeners(cls, admin: str, plain: frozenset[str]) -> None:
        """The addresses of the admin listener, empty for none, and of all without TLS, as in the setting `bind`."""
        cls._admin_listener, cls._plain_listeners = admin, plain

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """See Logger. An address at which no listener can be opened is named together with its setting."""
        about_address = isinstance(msg, str) and msg.startswith(("connection to ", "Can't connect to "))
        address = _UNOPENED.fullmatch(msg % args if args else msg) if about_address else None
        if address is None:
            super().error(msg, *args, **kwargs)
            return
        host, port = address["host"], address["port"]
        listener = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        setting = "admin_bind" if listener == self._admin_listener else "bind"
        super().error("%s = %r: no listener can be opened there: %s", setting, listener, address["reason"] or _GIVEN_UP)

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """See Logger. The addresses of listeners get their true schemes: gunicorn has TLS on all of them or on none."""
        if isinstance(msg, str) and msg.startswith("Listening at: ") and args and self._has_tls:
            args = (",".join(map(self._true_url, str(args[0]).split(","))), *args[1:])
        super().info(msg, *args, **kwargs)

    def _true_url(self, listener: str) -> str:
        _, has_scheme, address = listener.partition("://")
        if not has_scheme:
            return listener
        is_plain = address in self._plain_listeners and not self._is_stock
        return f"{'http' if is_plain else 'https'}://{address}"

    def setup(self, cfg: Any) -> None:
        """See Logger."""
        super().setup(cfg)
        self._has_tls = cfg.is_ssl
        self._is_stock = not issubclass(cfg.worker_class, ProxyWorker)
        for change in self._changes:
            change()
