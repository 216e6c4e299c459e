"""The error page of gunicorn's own workers.

gunicorn removes the indentation of its page with `textwrap.dedent`. From Python 3.14 on that function removes the
carriage returns of the head too, and a line of a head ends with both (RFC 9112 section 2.2).
"""

from __future__ import annotations

import html
import socket

from gunicorn import util


def install() -> None:
    """Let gunicorn's workers of this process write this page."""
    util.write_error = write_error


def write_error(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Write the response to a request that gunicorn rejects, as far as the client takes it at once."""
    text, detail = html.escape(reason), html.escape(message)
    page = f"<html>\n<head><title>{text}</title></head>\n<body><h1>{text}</h1>\n{detail}\n</body>\n</html>\n"
    body = page.encode("latin-1", "xmlcharrefreplace")
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/html\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)
