"""The former import path of `lbflask.hooks`; it will be removed in the next release."""

import warnings

from lbflask.core.hook_api import Change, HealthChange, HookRequest, Refusal

__all__ = ["Change", "HealthChange", "HookRequest", "Refusal"]

warnings.warn("lbflask.core.hooks is now lbflask.hooks", DeprecationWarning, stacklevel=2)
