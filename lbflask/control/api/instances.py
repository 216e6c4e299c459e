"""The operations of the API on instances: list them, drain one, and end its drain."""

from __future__ import annotations

from lbflask.control import instance_views
from lbflask.control.api.bodies import InstanceName, InstanceToDrain
from lbflask.control.api.models import InstanceDone, InstanceList, InstanceView
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.problems import Refused
from lbflask.control.operations import Operations
from lbflask.core.admin_tokens import Role


def instance_operations(operations: Operations, answered_by: str) -> list[Operation]:
    """The operations. The instance that answers can be drained also before its first heartbeat."""

    def found() -> list[InstanceView]:
        return instance_views.instances(operations.pool_states(), operations.drains())

    def done(call: ApiCall, seconds: int) -> InstanceDone:
        name = call.body.instance
        drained = name in operations.store.read_drains()
        if name != answered_by and all(one.name != name for one in found()):
            raise Refused(404, f"no instance {name!r}")
        changed = drained or seconds > 0
        if changed:
            operations.drain_instance(name, seconds, call.principal.identity, call.body.reason)
        return InstanceDone(changed=changed, instance=next((one for one in found() if one.name == name), None))

    return [
        Operation("instances", "GET", "/instances", "The instances, also drained ones that do not run",
                  lambda _: InstanceList(instances=found()), InstanceList),
        Operation("drainInstance", "POST", "/instances/drain", "Let its health respond 503, while it serves",
                  lambda call: done(call, call.body.seconds), InstanceDone, role=Role.OPERATOR, body=InstanceToDrain,
                  problems=(404, 503)),
        Operation("undrainInstance", "POST", "/instances/undrain", "Let its health depend on its backends again",
                  lambda call: done(call, 0), InstanceDone, role=Role.OPERATOR, body=InstanceName,
                  problems=(404, 503)),
    ]  # fmt: skip
