"""What an authority asks for while it validates a name by HTTP (RFC 8555 §8.3)."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, abort

#: The path of the control plane for the challenge with a token.
PATH = "/acme-challenge/"


def blueprint(authorization: Callable[[str], str | None]) -> Blueprint:
    """The route of challenges; `authorization` has the text for a token, None for an unknown one."""
    challenges = Blueprint("challenges", __name__)

    def show(token: str) -> Response:
        text = authorization(token)
        if text is None:
            abort(404)
        return Response(text, mimetype="application/octet-stream", headers={"Cache-Control": "no-store"})

    challenges.add_url_rule(f"{PATH}<token>", view_func=show)
    return challenges
