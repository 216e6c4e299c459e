"""A new configuration at SIGHUP: gunicorn's master checks it, its workers take it over where they are.

The master reads and judges once, and hands on what it has judged (server/config_handover.py), so that all workers serve
by the same values. Only where gunicorn alone can apply a setting do new workers take over. An error changes nothing at
all.
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
from lbflask.config.diff import Difference, difference
from lbflask.config.load import ConfigError
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.server.config_handover import SharedConfig
from lbflask.server.startup_checks import judge_parts
from lbflask.server.worker import BadSettings, changed_settings, is_ending, on_hang_up, on_word, send_word

#: Seconds in which the master should have reloaded; it may be waiting for old workers to end.
ANSWER_WITHIN = 5.0
#: Seconds between two looks whether it has.
LOOK_EVERY = 0.01

log = logging.getLogger("gunicorn.error")


class ReloadCoordinator:
    """The master's part, from when its workers have not started yet.

    `derived` are the names of gunicorn's settings that come from our configuration; `prepare` is told of one that new
    workers are to begin with.
    """

    def __init__(self, arbiter: Any, derived: Collection[str], prepare: Callable[[Config], None]) -> None:
        self.handover = SharedConfig()
        #: What gunicorn is to derive its settings from, when it reads them again.
        self.config = load.current()
        self._arbiter = arbiter
        self._derived = frozenset(derived)
        self._prepare = prepare
        self._certificates = self.config.tls.contents()
        on_hang_up(arbiter, self._hung_up)

    def _hung_up(self) -> bool:
        """Reload; False leaves it to gunicorn to start new workers."""
        began, before = time.monotonic(), self.config
        try:
            self.config = load.load()
            judge_parts(self._arbiter.cfg, self.config, partial(is_ending, self._arbiter))
            outcome = ReloadOutcome(began, version(self.config), "", *self._difference(before))
            if outcome.by_new_workers:
                self._prepare(self.config)
        except (ConfigError, BadSettings) as error:
            self._refuse(str(error), began, before)
            return True
        except Exception as error:
            # Whatever it is, the master must outlive it.
            log.exception("an error in the reload")
            self._refuse(f"an error of lbflask's: {error!r}", began, before)
            return True
        load.adopt(self.config)
        self._certificates = self.config.tls.contents()
        self.handover.write(outcome, self.config)
        if outcome.by_new_workers:
            reason = ", ".join(outcome.by_new_workers)
            log.info("configuration %s: new workers take over, for the sake of %s", outcome.version, reason)
            return False
        log.info("configuration %s in place: %s", outcome.version, ", ".join(outcome.in_place) or "nothing has changed")
        self._arbiter.log.reopen_files()
        send_word(self._arbiter)
        return True

    def _refuse(self, reason: str, began: float, before: Config) -> None:
        self.config = before
        log.error("the configuration was not reloaded: %s", reason)
        self.handover.write(ReloadOutcome(began, version(before), refused=reason), before)

    def _difference(self, before: Config) -> Difference:
        """What differs, in our settings or in gunicorn's own. Raises BadSettings."""
        found = difference(before, self.config)
        late = list(found.by_new_workers)
        if not any(key.startswith("tls") for key in late) and self.config.tls.contents() != self._certificates:
            late.append("tls (the files have changed)")
        gunicorns = changed_settings(self._arbiter)
        if late:
            gunicorns -= self._derived
        return Difference(found.in_place, (*late, *(f"gunicorn's {name}" for name in sorted(gunicorns))))


class ConfigFollower:
    """A worker's part: takes over what the master hands on. `serve_by` is given each new configuration, in a thread of
    its own; `announce` is called in a worker that begins with one.
    """

    def __init__(
        self, handover: SharedConfig, serve_by: Callable[[Config], None], announce: Callable[[], None]
    ) -> None:
        self._handover = handover
        self._serve_by = serve_by
        self._seen = -math.inf
        self._word = threading.Event()
        on_word(self._word.set)
        # From here on the master's word reaches us; what it said before is looked for now.
        if not self._look() and self._seen > -math.inf:
            announce()
        self._task = BackgroundTask("reload", self._run)
        self._task.start()

    def ask(self, worker: Any) -> ReloadOutcome:
        """Have the master of this worker reload, and how it ended. Raises NoAnswer."""
        asked = time.monotonic()
        try:
            os.kill(worker.ppid, signal.SIGHUP)
        except OSError as error:
            raise ReloadUnavailable(f"gunicorn's master can't be sent a signal: {error.strerror}") from None
        while time.monotonic() - asked < ANSWER_WITHIN:
            found = self._handover.read()
            if found is not None and found[0].began >= asked:
                return found[0]
            if not worker.alive:  # the master waits for us to end
                raise ReloadUnavailable("an earlier reload is under way, and this worker about to end; ask again")
            time.sleep(LOOK_EVERY)
        raise ReloadUnavailable(
            "gunicorn's master is busy, perhaps with ending old workers; it reloads as soon as it can"
        )

    def _run(self) -> None:
        while True:
            self._word.wait()
            self._word.clear()
            self._look()

    def _look(self) -> bool:
        """Take over what is new; whether there was something.

        Garbage is looked for later: all this is to live long, and requests stand still meanwhile.
        """
        gc.disable()
        try:
            return self._take_over()
        finally:
            gc.enable()

    def _take_over(self) -> bool:
        found = self._handover.read()
        if found is None or found[0].began <= self._seen:
            return False
        first, self._seen = self._seen == -math.inf, found[0].began
        try:
            if first and found[1] == load.current():
                return False  # it began with this one
            self._serve_by(load.adopt(found[1]))
        except Exception:
            log.exception("this worker keeps its configuration")
        return True
