"""Request bodies of the admin API; the OpenAPI document has their schemas."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from lbflask.control.api.base_model import Model
from lbflask.core.bans import DEFAULT_DURATION as DEFAULT_BAN
from lbflask.core.bans import MAX_DURATION as MAX_BAN
from lbflask.core.instance_drain import DEFAULT_DURATION as DEFAULT_DRAIN
from lbflask.core.instance_drain import MAX_DURATION as MAX_DRAIN
from lbflask.core.model import MAX_CLOSING, MOST_WEIGHT
from lbflask.core.operator_note import MAX_REASON, REASON
from lbflask.telemetry.debug import DEFAULT_DURATION, MAX_DURATION


def _integral(value: Any) -> Any:
    """JSON has one number type: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Reason = Annotated[str, Field(max_length=MAX_REASON, pattern=REASON)]
Weight = Annotated[int, BeforeValidator(_integral), Field(ge=0, le=MOST_WEIGHT)]


class DebugRequest(Model):
    """For how long the steps of requests are to be logged."""

    seconds: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_DURATION)] = DEFAULT_DURATION
    """From now on."""
    reason: Reason = ""
    """Why, for the event."""


class Body(Model):
    """A request body. Values must have the right JSON type; nothing is converted."""

    model_config = ConfigDict(strict=True)


class Reasoned(Body):
    """An action. The body may be absent."""

    reason: Reason = ""
    """Why, for other operators: one line, shown with the state and the event."""


class Withdrawal(Reasoned):
    """An action that may leave a pool without a backend."""

    force: bool = False
    """Also if no other backend of the pool serves."""


class Drain(Withdrawal):
    """A backend that gets no more requests."""

    close_after: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_CLOSING)] | None = None
    """Seconds within which its tunnels and event streams end, one after another; null to let them go on."""


class Login(Body):
    """The token for a session."""

    token: Annotated[str, Field(max_length=400)]


class NewWeight(Withdrawal):
    """A weight to set."""

    weight: Weight | None
    """null restores the configured weight."""


class NewBackend(Reasoned):
    """A backend to add."""

    url: Annotated[str, Field(max_length=400)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,64}$")] | None = None
    weight: Weight = 1
    backup: bool = False


class InstanceName(Reasoned):
    """An instance."""

    instance: Annotated[str, Field(min_length=1, max_length=400)]
    """Its name, as in `GET /instances`."""


class InstanceToDrain(InstanceName):
    """An instance to drain."""

    seconds: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_DRAIN)] = DEFAULT_DRAIN
    """For how long, unless it is ended earlier."""


class BannedNetwork(Reasoned):
    """An address or a network."""

    network: Annotated[str, Field(min_length=1, max_length=64)]
    """Such as 203.0.113.7 or 2001:db8::/48."""


class NetworkToBan(BannedNetwork):
    """An address or a network to ban."""

    seconds: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_BAN)] = DEFAULT_BAN
    """For how long, unless the ban is ended earlier."""


class RequestToExplain(Body):
    """The request to explain."""

    method: Annotated[str, Field(max_length=64)]
    url: Annotated[str, Field(max_length=4096)]
    """Absolute, or from its path on."""
    headers: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []  # noqa: RUF012 - pydantic copies it
    """Header fields, each as `Name: value`."""
    client: Annotated[str, Field(max_length=64)] = "127.0.0.1"
    """The address of the client."""
    listener: Annotated[str, Field(max_length=256)] = ""
    """The name or the address of the listener; empty for the first."""
