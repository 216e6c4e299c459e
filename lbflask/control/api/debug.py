"""The operations of the API that switch the tracing of requests for one instance."""

from __future__ import annotations

import math

from lbflask.control.api.bodies import DebugRequest, Reasoned
from lbflask.control.api.models import DebugView
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.problems import Refused
from lbflask.control.operations import Operations
from lbflask.core.admin_tokens import Role
from lbflask.telemetry.debug import DebugSwitch, NoSharedDirectory


def debug_operations(switch: DebugSwitch, operations: Operations, instance: str) -> list[Operation]:
    """The operations that read and set the switch of the instance that answers."""

    def status() -> DebugView:
        seconds = switch.remaining()
        left = None if math.isinf(seconds) else round(seconds, 3)
        return DebugView(instance=instance, enabled=seconds > 0, seconds_left=left)

    def switched(call: ApiCall, seconds: int) -> DebugView:
        try:
            switch.switch(seconds)
        except (NoSharedDirectory, OSError) as error:
            raise Refused(503, str(error)) from None
        state = f"on for {seconds} s" if seconds else "off"
        operations.record_debug(f"{state} at {instance}", call.principal.identity, call.body.reason)
        return status()

    return [
        Operation("debug", "GET", "/debug", "Whether this instance logs the steps of requests", lambda _: status(),
                  DebugView),
        Operation("debugOn", "PUT", "/debug", "Log each step of requests for a bounded time, on this instance",
                  lambda call: switched(call, call.body.seconds), DebugView, role=Role.OPERATOR, body=DebugRequest,
                  problems=(503,)),
        Operation("debugOff", "DELETE", "/debug", "Log the steps of requests no more",
                  lambda call: switched(call, 0), DebugView, role=Role.OPERATOR, body=Reasoned,
                  body_optional=True, problems=(503,)),
    ]  # fmt: skip
