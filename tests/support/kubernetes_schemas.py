"""The published schemas of Kubernetes."""

from __future__ import annotations

from typing import Any


def validate(manifest: dict[str, Any], release: str) -> None:
    """Raises ValueError for what the schemas of a release reject, and for keys that they do not know."""
    import kubernetes_validate  # noqa: PLC0415 - takes seconds, and each process of the tests imports the modules

    try:
        kubernetes_validate.validate(manifest, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise ValueError(str(error)) from None
