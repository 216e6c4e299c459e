"""The Flask app, with the data plane in front of it.

Flask's router would merge slashes, answer OPTIONS and refuse methods, so proxied requests never reach it: the data
plane replaces `app.wsgi_app`, Flask's extension point, and passes on only requests for the balancer itself
(docs/adr/0002-data-plane-at-wsgi-app.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Flask

from lbflask.proxy.data_plane import DataPlane


def control_app(blueprints: Sequence[Blueprint]) -> Flask:
    """The control plane: the blueprints on Flask's router."""
    app = Flask("lbflask", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would be a guess at what was meant
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def install(plane: DataPlane, app: Flask) -> None:
    """Put the data plane in front of the app's router."""
    app.wsgi_app = plane  # type: ignore[method-assign]
    app.extensions["lbflask"] = plane
