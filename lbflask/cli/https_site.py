"""The configuration of `lbflask serve --domain`: names with automatic certificates in front of backends."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lbflask.config.load import ConfigError
from lbflask.config.state_directory import state_directory

#: The file, which is written anew with each start: a reload reads it again.
FILE = "serve.toml"


def text(domains: Sequence[str], backends: Sequence[str], http_port: int, https_port: int) -> str:
    """The configuration as TOML, whose strings and lists are written as those of JSON."""
    return (
        "# Written by `lbflask serve --domain` with each start.\n"
        f"backends = {json.dumps([*backends])}\n\n"
        f'[[listeners]]\nbind = "0.0.0.0:{http_port}"\nredirect = "https"\n\n'
        f'[[listeners]]\nbind = "0.0.0.0:{https_port}"\ntls = true\n\n'
        f"[tls.acme]\ndomains = {json.dumps([*domains])}\n"
    )


def write(content: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Write the configuration below the state directory, for this user alone. Raises ConfigError."""
    path = state_directory(environ) / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    except OSError as error:
        raise ConfigError(f"--domain: {str(path)!r} cannot be written: {error.strerror}") from None
    return path
