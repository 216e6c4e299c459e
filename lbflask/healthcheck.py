"""`python -m lbflask.healthcheck`: the checker process. SIGTERM or SIGINT ends its round and gives up its place."""

from __future__ import annotations

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from lbflask.config.load import ConfigError, current
from lbflask.telemetry import error_log
from lbflask.wiring.checker import checkers
from lbflask.wiring.hooks import hooks_of

#: Threads in which names are resolved. One that nobody answers for holds its thread for many seconds, and must not keep
#: the others waiting.
NAME_THREADS = 64


async def _run() -> None:
    hooks = hooks_of(current())
    running = checkers(current(), None if hooks is None else hooks.health)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(NAME_THREADS, thread_name_prefix="names"))

    def stop() -> None:
        for checker in running:
            checker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as tasks:
        for checker in running:
            tasks.create_task(checker.run())
    if hooks is not None:
        hooks.stop()


def main() -> None:
    """Run until told to stop."""
    try:
        error_log.begin(current().error_log_format)
        asyncio.run(_run())
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")


if __name__ == "__main__":
    main()
