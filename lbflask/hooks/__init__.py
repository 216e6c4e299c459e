"""The public API for hooks: what a hook receives and what it may return. See docs/hooks.md.

`lbflask.hooks` is the supported import path; `runner` is internal.
"""

from lbflask.core.hook_api import Change, HealthChange, HookRequest, HookResponse, Refusal
from lbflask.telemetry.events import AttemptEvent, RequestEvent

__all__ = ["AttemptEvent", "Change", "HealthChange", "HookRequest", "HookResponse", "Refusal", "RequestEvent"]
