"""The operations of the API that switch the tracing of requests for one instance."""

from __future__ import annotations

import math

from lbflask.control.api.models import DebugRequest, DebugView
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.problems import Refused
from lbflask.control.operations import Operations
from lbflask.core.admin_tokens import Role
from lbflask.telemetry.debug import DebugSwitch, NoSharedDirectory


class DebugOperations:
    """Reads and sets the switch of the instance that answers."""

    def __init__(self, switch: DebugSwitch, operations: Operations, instance: str) -> None:
        self._switch = switch
        self._operations = operations
        self._instance = instance

    def table(self) -> list[Operation]:
        """The operations, for the table of the API."""
        return [
            Operation("debug", "GET", "/debug", "Whether this instance logs the steps of requests", self._status,
                      DebugView),
            Operation("debugOn", "PUT", "/debug", "Log each step of requests for a bounded time, on this instance",
                      lambda call: self._switched(call, call.body.seconds), DebugView, role=Role.OPERATOR,
                      body=DebugRequest, problems=(503,)),
            Operation("debugOff", "DELETE", "/debug", "Log the steps of requests no more",
                      lambda call: self._switched(call, 0), DebugView, role=Role.OPERATOR, problems=(503,)),
        ]  # fmt: skip

    def _status(self, _: ApiCall) -> DebugView:
        seconds = self._switch.remaining()
        left = None if math.isinf(seconds) else round(seconds, 3)
        return DebugView(instance=self._instance, enabled=seconds > 0, seconds_left=left)

    def _switched(self, call: ApiCall, seconds: int) -> DebugView:
        try:
            self._switch.switch(seconds)
        except (NoSharedDirectory, OSError) as error:
            raise Refused(503, str(error)) from None
        state = f"on for {seconds} s" if seconds else "off"
        self._operations.record_debug(f"{state} at {self._instance}", call.principal.identity)
        return self._status(call)
