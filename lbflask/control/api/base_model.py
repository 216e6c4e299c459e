"""The base of all documents of the admin API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A value of the API. Durations are in seconds, times in seconds since the epoch by the store's clock."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, from_attributes=True, serialize_by_alias=True, defer_build=True
    )
