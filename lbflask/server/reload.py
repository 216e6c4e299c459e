"""Reload without new workers, top-down: each function calls, or triggers in another process, the next one.

    request_reload   worker    the admin API asks for a reload: SIGHUP to the master
    master_reload    master    at SIGHUP: reads and checks the configuration once, for all workers
    publish          master    writes configuration and outcome into shared memory (config_handover.py)
    notify_workers   master    SIGURG to all workers (worker/arbiter_signals.py)
    worker_apply     worker    applies the published configuration

Only settings that gunicorn itself applies need new workers. A configuration with an error changes nothing.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from lbflask.background import BackgroundTask
from lbflask.config import load
from lbflask.config.certificates import expiry_warnings
from lbflask.config.diff import Difference, difference
from lbflask.config.load import ConfigError
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.server import listener_sockets
from lbflask.server.config_handover import SharedConfig
from lbflask.server.startup_checks import check_overlap, check_parts, check_worker_class
from lbflask.server.worker import arbiter_signals
from lbflask.server.worker.arbiter_startup import is_ending
from lbflask.wiring.preflight import check_passed_sockets

#: Seconds for the outcome of a reload; the master may be waiting for old workers to end.
OUTCOME_TIMEOUT = 5.0
#: Seconds between two reads of the outcome.
POLL_INTERVAL = 0.01

log = logging.getLogger("gunicorn.error")


def request_reload(shared_config: SharedConfig, master: int, stopping: Callable[[], bool]) -> ReloadOutcome:
    """Reload the configuration of the whole gunicorn, and wait for the outcome. Raises ReloadUnavailable."""
    requested = time.monotonic()
    try:
        os.kill(master, signal.SIGHUP)
    except OSError as error:
        raise ReloadUnavailable(f"gunicorn's master can't be sent a signal: {error.strerror}") from None
    while time.monotonic() - requested < OUTCOME_TIMEOUT:
        published = shared_config.read()
        if published is not None and published[0].began >= requested:
            return published[0]
        if stopping():  # the master waits until this worker has ended
            raise ReloadUnavailable("an earlier reload is under way, and this worker about to end; ask again")
        time.sleep(POLL_INTERVAL)
    raise ReloadUnavailable("gunicorn's master is busy, perhaps with ending old workers; it reloads as soon as it can")


class ReloadCoordinator:
    """The master's part. Constructed before the first worker starts.

    `derived` are the names of gunicorn's settings that follow from our configuration; `prepare` is called with a
    configuration before new workers start with it, and `adopt` when it is in effect.
    """

    def __init__(
        self,
        arbiter: Any,
        derived: Collection[str],
        prepare: Callable[[Config], None],
        adopt: Callable[[Config], object] = load.adopt,
    ) -> None:
        self.shared_config = SharedConfig()
        #: What gunicorn derives its settings from when it reads them again.
        self.config = load.current()
        self._arbiter = arbiter
        self._derived = frozenset(derived)
        self._prepare = prepare
        self._adopt = adopt
        self._certificates = self.config.tls.contents()
        arbiter_signals.on_hang_up(arbiter, self.master_reload)

    def __repr__(self) -> str:
        return f"<ReloadCoordinator {version(self.config)}>"

    def master_reload(self) -> bool:
        """Reload. Returns False if gunicorn must start new workers."""
        began, before = time.monotonic(), self.config
        try:
            self.config = load.load()
            check_passed_sockets(self.config)
            check_parts(self._arbiter.cfg, self.config, partial(is_ending, self._arbiter))
            warnings = expiry_warnings(self.config, time.time())
            outcome = ReloadOutcome(began, version(self.config), "", *self._difference(before), warnings)
            if outcome.by_new_workers:
                self._prepare_new_workers(before)
            listener_sockets.set_changed_modes(self._arbiter, before, self.config)
        except Exception as error:  # the master must survive any error
            reason = str(error)
            if not isinstance(error, (ConfigError, arbiter_signals.BadSettings)):
                log.exception("an error in the reload")
                reason = f"an error of lbflask's: {error!r}"
            self.config = before
            log.error("the configuration was not reloaded: %s", reason)
            self.shared_config.write(ReloadOutcome(began, version(before), refused=reason), before)
            return True
        self._adopt(self.config)
        self._certificates = self.config.tls.contents()
        return self.publish(outcome)

    def _prepare_new_workers(self, before: Config) -> None:
        """Raises ConfigError or BadSettings, and changes nothing."""
        check_worker_class(self._arbiter.cfg, self.config)
        check_overlap(self.config, arbiter_signals.read_settings(self._arbiter).address)
        self._prepare(self.config)
        try:
            listener_sockets.replace(self._arbiter, self.config)
        except arbiter_signals.BadSettings:
            self._prepare(before)
            raise

    def publish(self, outcome: ReloadOutcome) -> bool:
        """Hand the configuration to the workers. Returns False if gunicorn must start new workers."""
        self.shared_config.write(outcome, self.config)
        for line in outcome.warnings:
            log.warning(line)
        if outcome.by_new_workers:
            reason = ", ".join(outcome.by_new_workers)
            log.info("configuration %s: new workers take over, for the sake of %s", outcome.version, reason)
            return False
        log.info("configuration %s in place: %s", outcome.version, ", ".join(outcome.in_place) or "nothing has changed")
        self._arbiter.log.reopen_files()
        arbiter_signals.notify_workers(self._arbiter)
        return True

    def _difference(self, before: Config) -> Difference:
        """Changed settings, of ours and of gunicorn. Raises BadSettings."""
        changed = difference(before, self.config)
        by_new_workers, in_place = list(changed.by_new_workers), list(changed.in_place)
        tls_changes = any(key.startswith("tls") for key in (*by_new_workers, *in_place))
        if not tls_changes and self.config.tls.contents() != self._certificates:
            in_place.append("tls (the files have changed)")
        gunicorns = arbiter_signals.changed_settings(self._arbiter)
        if before.tls.sources and self.config.tls.sources:  # gunicorn only needs to know that there is one
            gunicorns -= {"certfile", "keyfile"}
        if by_new_workers:
            gunicorns -= self._derived
        return Difference(tuple(in_place), (*by_new_workers, *(f"gunicorn's {name}" for name in sorted(gunicorns))))


class ConfigFollower:
    """A worker's part: calls `apply_config` with each published configuration, in a thread of its own.

    `announce_config` is called in a worker that starts with a configuration that was published before.
    """

    def __init__(
        self,
        shared_config: SharedConfig,
        *,
        apply_config: Callable[[Config], None],
        announce_config: Callable[[], None],
    ) -> None:
        self._shared_config = shared_config
        self._apply_config = apply_config
        self._seen = -math.inf
        self._notified = threading.Event()
        arbiter_signals.on_notification(self._notified.set)
        # Notifications arrive from here on; a configuration that was published before is applied now.
        if not self.worker_apply() and self._seen > -math.inf:
            announce_config()
        self._task = BackgroundTask("reload", self._run)
        self._task.start()

    def __repr__(self) -> str:
        return f"<ConfigFollower seen={self._seen}>"

    def _run(self) -> None:
        while True:
            self._notified.wait()
            self._notified.clear()
            self.worker_apply()

    def worker_apply(self) -> bool:
        """Apply the published configuration. Returns False if there is no new one.

        The garbage collector is off meanwhile: the new objects live long, and a collection would delay requests.
        """
        gc.disable()
        try:
            published = self._shared_config.read()
            if published is None or published[0].began <= self._seen:
                return False
            is_first, self._seen = self._seen == -math.inf, published[0].began
            if is_first and published[1] == load.current():
                return False  # the worker has started with this one
            self._apply_config(load.adopt(published[1]))
        except Exception:
            log.exception("this worker keeps its configuration")
        finally:
            gc.enable()
        return True
