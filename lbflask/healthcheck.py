"""`python -m lbflask.healthcheck`: the checker process.

SIGTERM and SIGINT finish the probes in progress and release the leadership. SIGHUP, or the message of a worker that has
reloaded, reloads the configuration; one with an error changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading

from lbflask.config import load
from lbflask.config.diff import difference
from lbflask.config.load import ConfigError
from lbflask.config.render import version
from lbflask.core.hook_api import HealthChange
from lbflask.telemetry import error_log
from lbflask.telemetry.standard_streams import open_standard_streams
from lbflask.wiring.adapters import hooks_for
from lbflask.wiring.checker_runtime import CheckerRuntime

log = logging.getLogger("lbflask.checker")

#: Seconds after which a checker that stops ends in any case, below the patience of systemd and of containers: a thread
#: that looks up the store's name can't be interrupted, and Python waits for it.
STOP_TIMEOUT = 8.0


class _Process:
    """Runs a CheckerRuntime by the configuration in effect, and a new one when it names another store."""

    def __init__(self) -> None:
        self._hooks = hooks_for(load.current())
        self._runtime = CheckerRuntime(load.current(), self._on_health_change)
        self._store_changes = False

    async def run(self) -> None:
        """Check until stopped."""
        await self._runtime.run(self.reload)
        while self._store_changes:
            self._store_changes = False
            self._runtime = CheckerRuntime(load.current(), self._on_health_change)
            await self._runtime.run(self.reload)
        if self._hooks is not None:
            self._hooks.stop()

    def stop(self) -> None:
        """End after the probes in progress, and after STOP_TIMEOUT at the latest."""
        timer = threading.Timer(STOP_TIMEOUT, os._exit, (0,))
        timer.daemon = True
        timer.start()
        self._store_changes = False
        self._runtime.stop()

    def reload(self) -> None:
        """Reload the configuration. An error is logged, and changes nothing."""
        before = load.current()
        try:
            config = load.reload()
            hooks = hooks_for(config) if config.hooks != before.hooks else self._hooks
        except ConfigError as error:
            log.error("the configuration was not reloaded: %s", error)
            return
        if hooks is not self._hooks and self._hooks is not None:
            self._hooks.stop()
        self._hooks = hooks
        changed = difference(before, config)
        keys = ", ".join((*changed.in_place, *changed.by_new_workers))
        if keys:
            log.info("configuration %s: %s", version(config), keys)
        if (before.redis_url, before.namespace) != (config.redis_url, config.namespace):
            self._store_changes = True
            self._runtime.stop()
        else:
            self._runtime.apply_config(config)

    def _on_health_change(self, change: HealthChange) -> None:
        if self._hooks is not None:
            self._hooks.health(change)


async def _run() -> None:
    process = _Process()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    loop.add_signal_handler(signal.SIGHUP, process.reload)
    await process.run()


def main() -> None:
    """Run until a signal ends the process."""
    open_standard_streams()
    try:
        error_log.configure_standalone(load.current().error_log_format)
        asyncio.run(_run())
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")


if __name__ == "__main__":
    main()
