"""gunicorn's settings as plain values for the request path."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gunicorn.http.message import _check_fast_parser


def request_parser(cfg: Any) -> str:
    """The parser of request heads by these settings: `fast`, in C, or `python`. Raises RuntimeError."""
    return "fast" if _check_fast_parser(cfg) else "python"


def freeze(cfg: Any) -> SimpleNamespace:
    """The settings as plain attributes: gunicorn's own object computes each one at every access."""
    frozen = SimpleNamespace(**{name: setting.get() for name, setting in cfg.settings.items()})
    frozen.is_ssl = cfg.is_ssl
    # `lean`: the parser in C can be called directly. `plain`: without it, plain heads need not go to gunicorn's.
    # gunicorn reads some limits as "none", and does more before it parses with the PROXY protocol.
    limits = (frozen.limit_request_line, frozen.limit_request_fields, frozen.limit_request_field_size)
    direct = frozen.proxy_protocol == "off" and all(
        0 < value <= maximum for value, maximum in zip(limits, (8190, 32_768, 1 << 20), strict=True)
    )
    fast = request_parser(frozen) == "fast"  # which also loads it
    frozen.lean = direct and fast
    any_method = frozen.permit_unconventional_http_method and not frozen.casefold_http_method
    frozen.plain = direct and not fast and any_method
    frozen.constants = {
        "scheme": "https" if cfg.is_ssl else "http",
        "limit_request_fields": frozen.limit_request_fields,
        "limit_request_field_size": frozen.limit_request_field_size,
        "limit_request_line": frozen.limit_request_line,
        "_fast_limit_request_line": frozen.limit_request_line,
        "max_buffer_headers": frozen.limit_request_fields * (frozen.limit_request_field_size + 2) + 4,
    }
    # Arguments of the parser in C after the bytes and their count; by position, which costs it least.
    frozen.parser_limits = (
        *limits,
        frozen.permit_unconventional_http_method,
        frozen.permit_unconventional_http_version,
    )
    frozen.forwarded_allow_networks = cfg.forwarded_allow_networks
    frozen.proxy_allow_networks = cfg.proxy_allow_networks
    return frozen
