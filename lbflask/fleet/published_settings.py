"""Publishes the settings by which an instance runs, without secrets, so that any instance can show differences."""

from __future__ import annotations

from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import CONFIGURATION_FORGOTTEN_AFTER, MAX_CONFIGURATION

#: Seconds between two publications of the same settings: two may fail before they are forgotten.
PUBLISH_EVERY = CONFIGURATION_FORGOTTEN_AFTER / 3


class PublishedSettings:
    """Called from one thread. All workers of an instance write the same, so that no one has to be chosen."""

    def __init__(self, worker: LocalWorker, link: StoreLink) -> None:
        self._worker = worker
        self._link = link
        self._version = ""
        self._at = float("-inf")

    def __repr__(self) -> str:
        return f"<PublishedSettings {self._version or 'none'}>"

    def publish(self) -> None:
        """Publish the settings if they have changed, or if it is time to. Raises StoreUnavailable."""
        version, settings, now = self._worker.identity.config, self._worker.settings, self._worker.clock()
        is_due = version != self._version or now - self._at >= PUBLISH_EVERY
        if is_due and settings and len(settings) <= MAX_CONFIGURATION and not self._link.degraded:
            self._link.store.write_configuration(version, settings)
            self._version, self._at = version, now
