"""Configuration of buffers between slow clients and backends (docs/how-to/sync-workers.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import SecondsOrZero, Section
from lbflask.config.files import UnusableFile, check_directory
from lbflask.config.paths import FilePath
from lbflask.config.units import Bytes
from lbflask.core.buffering import BodyRates, BufferingPolicy, BufferLimits

#: Bytes of one body in memory, and in a file.
MemorySize = Annotated[Bytes, Field(ge=0, le=1 << 30)]
SpoolSize = Annotated[Bytes, Field(ge=0, le=1 << 44)]
#: Bytes per second.
Rate = Annotated[Bytes, Field(ge=0, le=1 << 30)]


class TrafficBufferingConfig(Section):
    """Buffers between slow clients and backends (docs/how-to/sync-workers.md)."""

    requests: MemorySize | None = None
    """Bytes of a request body in memory, such as `1MiB`; its backend is chosen when the body is here. 0: streams."""
    responses: MemorySize | None = None
    """Bytes of a response in memory; its backend is free once it has sent the last one. 0: streams."""
    spool_requests: SpoolSize | None = None
    """Bytes of a request body beyond `requests`, in a file. What is larger streams. 0 for no file."""
    spool_responses: SpoolSize | None = None
    """Bytes of a response beyond `responses`, in a file. A larger one is read at the pace of its client. 0: no file."""
    least_request_rate: Rate | None = None
    """Bytes per second that a client must send of a body on average, else 408. 0 for no least rate."""
    least_response_rate: Rate | None = None
    """Bytes per second that a client must take of a response on average, else it is cut. 0 for no least rate."""
    rate_grace: SecondsOrZero | None = None
    """Seconds of waiting for the client, from which on these rates count."""


class BufferingConfig(TrafficBufferingConfig):
    """Buffers between slow clients and backends (docs/how-to/sync-workers.md)."""

    requests: MemorySize = 0
    responses: MemorySize = 0
    spool_requests: SpoolSize = 100 << 20
    spool_responses: SpoolSize = 100 << 20
    least_request_rate: Rate = 0
    least_response_rate: Rate = 0
    rate_grace: SecondsOrZero = 5.0
    memory: SpoolSize = 64 << 20
    """Bytes of all buffers of a worker in memory; beyond them buffers use their files."""
    spool: SpoolSize = 1 << 30
    """Bytes of all files of a worker; beyond them bodies stream."""
    directory: FilePath = ""
    """The folder of the files, which have no names. Unset: `TMPDIR`, else /var/tmp."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for a folder that does not exist."""
        try:
            check_directory(self.directory or "/")
        except UnusableFile as error:
            raise ValueError(f"{where}.directory: {self.directory!r} {error}") from None

    def policy(self) -> BufferingPolicy | None:
        """The rules as a value of the core; None where bodies stream at any rate."""
        requests = BufferLimits(self.requests, self.spool_requests) if self.requests else None
        responses = BufferLimits(self.responses, self.spool_responses) if self.responses else None
        rates = None
        if self.least_request_rate or self.least_response_rate:
            rates = BodyRates(self.least_request_rate, self.least_response_rate, self.rate_grace)
        return BufferingPolicy(requests, responses, rates) if requests or responses or rates else None
