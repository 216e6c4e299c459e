"""Builds what compresses responses."""

from __future__ import annotations

from lbflask.compression.encoders import encoder_maker
from lbflask.config.compression import CompressionConfig
from lbflask.proxy.compression import Compression


def compression(table: CompressionConfig) -> Compression | None:
    """The compression that the table configures; None for none. The configuration is checked, so that the libraries are
    there.
    """
    policy = table.policy()
    if policy is None:
        return None
    return Compression(policy, {coding: encoder_maker(coding, level) for coding, level in policy.levels.items()})
