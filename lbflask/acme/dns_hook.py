"""Runs the operator's command that adds and removes TXT records, by which an authority validates names in the DNS."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lbflask.core.certificate_orders import DnsRecord
from lbflask.core.printable import printable

#: Bytes of the end of a command's output that are kept, and characters of its last line that a reason has.
KEPT_OUTPUT, MAX_LINE = 4096, 200
#: Seconds for the end of a command that was killed.
_LAST = 1.0
_SETTING = "tls.acme.dns_hook"


class HookError(Exception):
    """The command cannot be run, has failed or took too long; the message names its setting."""


class DnsHook:
    """Calls `command add NAME VALUE` and `command remove NAME VALUE`, one at a time: scripts that read a zone and write
    it back would lose records otherwise. Each has `timeout` seconds, after which it is killed with what it has started.

    Its environment is that of the process without the settings of lbflask, among which are secrets.
    """

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self._command = tuple(command)
        self._timeout = timeout
        self._free = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<DnsHook {self._command[0]!r}>"

    def check(self) -> None:
        """Raises HookError if there is no such command: no order is begun that could not end."""
        path = self._command[0]
        if not Path(path).is_file():
            raise HookError(f"{_SETTING}: {path!r} is not there")
        if not os.access(path, os.X_OK):
            raise HookError(f"{_SETTING}: {path!r} is not executable: chmod +x")

    async def add(self, record: DnsRecord) -> None:
        """Have the record added. Raises HookError."""
        await self._run("add", record)

    async def remove(self, record: DnsRecord) -> None:
        """Have the record removed, which may not be there. Raises HookError."""
        await self._run("remove", record)

    async def _run(self, action: str, record: DnsRecord) -> None:
        async with self._free:
            process = await self._start(action, record)
            output = bytearray()
            try:
                async with asyncio.timeout(self._timeout):
                    if process.stdout is not None:
                        await _read(process.stdout, output)
                    code = await process.wait()
            except TimeoutError:
                reason = f"{action} {record.name} took more than {self._timeout:g} s"
                raise HookError(f"{_SETTING}: {reason}{_last_line(output)}") from None
            finally:
                await _end(process)
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise HookError(f"{_SETTING}: {action} {record.name} failed with {how}{_last_line(output)}")

    async def _start(self, action: str, record: DnsRecord) -> asyncio.subprocess.Process:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_")}
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, action, record.name, record.value,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                env=environ, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise HookError(f"{_SETTING}: {self._command[0]!r} cannot be run: {reason}") from None


async def _read(stream: asyncio.StreamReader, output: bytearray) -> None:
    """Read the output up to its end, and keep the last bytes of it."""
    while part := await stream.read(65_536):
        output += part
        del output[:-KEPT_OUTPUT]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the command, if it runs, and what it has started and left behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST):
            await process.wait()


def _last_line(output: bytes | bytearray) -> str:
    lines = bytes(output).decode("utf-8", "replace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {printable(text[:MAX_LINE])}" if text else ""
