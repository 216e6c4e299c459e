"""Asks a service of the operator's whether a name may have a certificate on demand."""

from __future__ import annotations

import http.client
import logging
from urllib.parse import quote, urlsplit

#: Seconds for a connection and for each part of the answer.
TIMEOUT = 5.0

log = logging.getLogger("lbflask")


class Permission:
    """The service at a URL: it answers 200 to `GET URL?domain=NAME` for a name that may. Redirections are not followed,
    and the body is not read.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._failure = ""

    def __repr__(self) -> str:
        return f"<Permission {self._url.hostname}>"

    def allows(self, name: str) -> bool:
        """Whether the name may have a certificate; not while the service is out of reach, which is logged once."""
        try:
            status = self._status(name)
        except (OSError, ValueError, http.client.HTTPException) as error:  # such as a name that is too long for DNS
            self._note(f"it cannot be asked: {error or type(error).__name__}")
            return False
        self._note(f"it answers {status}" if status >= 500 else "")
        return status == 200

    def _status(self, name: str) -> int:
        of = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = of(self._url.hostname or "", self._url.port, timeout=TIMEOUT)
        try:
            before = f"{self._url.query}&" if self._url.query else ""
            target = f"{self._url.path or '/'}?{before}domain={quote(name)}"
            connection.request("GET", target, headers={"User-Agent": "lbflask", "Connection": "close"})
            return connection.getresponse().status
        finally:
            connection.close()

    def _note(self, failure: str) -> None:
        if failure and not self._failure:
            log.warning("tls.acme.on_demand_ask: no new names are allowed: %s", failure)
        self._failure = failure
