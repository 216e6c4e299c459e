"""`python -m tests.support.backend PORT…`: the demo backend, with `/cookies` that sets two in fields of their own."""

from __future__ import annotations

import sys

from lbflask.demo import backend

COOKIES = ["a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2; Path=/"]


class Handler(backend.DemoHandler):
    """What the demo backend lacks for tests."""

    def _serve(self) -> None:
        if self.path != "/cookies":
            super()._serve()
            return
        self.send_response(200)
        for cookie in COOKIES:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    backend.DemoHandler = Handler  # type: ignore[misc]
    backend.main(sys.argv[1:])
