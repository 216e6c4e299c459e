"""Hooks of all kinds, for tests to configure."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from devtools.wait import PATIENCE
from lbflask.core.hook_api import Change, HealthChange, HookRequest, HookResponse, Refusal
from lbflask.telemetry.events import RequestEvent


class Tagging:
    """Changes and refuses what it is asked to; writes what it is told into the file that HOOKED names."""

    def request(self, request: HookRequest) -> Change | Refusal | None:
        if request.target.startswith("/refused"):
            return Refusal(403, "not here", {"X-Refused-By": "a hook"})
        return Change(set={"X-Hooked": request.client}, remove=("X-Secret",)) if "tag" in request.target else None

    def choice(self, request: HookRequest, backends: Sequence[str]) -> Sequence[str] | None:
        return sorted(backends)[-1:] if "last" in request.target else None

    def response_head(self, request: HookRequest, response: HookResponse) -> Change | None:
        if "head" not in request.target:
            return None
        return Change(
            set={"X-Status": str(response.status), "X-Tag": request.field("X-Hooked") or ""}, remove=("Content-Type",)
        )

    def response(self, event: RequestEvent) -> None:
        self._note(f"response {event.target} {event.status}")

    def health(self, change: HealthChange) -> None:
        self._note(f"health {change.backend} {change.before}->{change.health}")

    def _note(self, text: str) -> None:
        with open(os.environ["HOOKED"], "a") as file:  # noqa: PTH123
            file.write(text + "\n")


class Raising:
    """Raises wherever it is called."""

    def request(self, _request: HookRequest) -> None:
        raise SystemExit("a hook's own idea")

    def choice(self, _request: HookRequest, _backends: Sequence[str]) -> None:
        raise ZeroDivisionError

    def response_head(self, _request: HookRequest, _response: HookResponse) -> None:
        raise ZeroDivisionError

    def response(self, _event: RequestEvent) -> None:
        raise ZeroDivisionError


class Sleeping:
    """Sleeps wherever it is called."""

    def request(self, _request: HookRequest) -> None:
        time.sleep(10 * PATIENCE)

    def choice(self, _request: HookRequest, _backends: Sequence[str]) -> None:
        time.sleep(10 * PATIENCE)

    def response_head(self, _request: HookRequest, _response: HookResponse) -> None:
        time.sleep(10 * PATIENCE)

    def response(self, _event: RequestEvent) -> None:
        time.sleep(10 * PATIENCE)


class Pointless:
    """Has no point at which it is called."""


def seconds() -> None:
    """No hook at all."""


instance = Raising()
