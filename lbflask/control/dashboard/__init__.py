"""The dashboard: one page on the admin listener, a client of the API. It loads nothing from other hosts.

The page has no data of the fleet, so it needs no authentication; its API requests do where tokens are configured.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from flask import Blueprint, Response, request

from lbflask.control.auth import Authenticator

#: Scripts and styles only from this origin; no page may frame this one (CSP 3).
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIELDS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
#: Files by path.
_FILES = {
    "/": ("page.html", "text/html"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/findings.js": ("findings.js", "text/javascript"),
    "/api.js": ("api.js", "text/javascript"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}


def blueprint(authenticator: Authenticator) -> Blueprint:
    """The page and its files."""
    pages = Blueprint("dashboard", __name__)
    for path, (name, media_type) in _FILES.items():
        data = resources.files(__name__).joinpath(name).read_bytes()
        pages.add_url_rule(
            path, name.replace(".", "_"), _view(authenticator, data, media_type), provide_automatic_options=False
        )
    return pages


def _view(authenticator: Authenticator, data: bytes, media_type: str) -> Callable[[], Response]:
    def view() -> Response:
        authenticator.check_origin(request)
        response = Response(data, mimetype=media_type)
        response.headers.update(_FIELDS)
        response.add_etag()
        response.make_conditional(request)
        return response

    return view
