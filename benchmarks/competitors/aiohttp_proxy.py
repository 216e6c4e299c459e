"""A proxy in aiohttp on uvloop: round robin per process, streaming. Usage: aiohttp_proxy.py PORT BACKEND…"""

from __future__ import annotations

import sys
from itertools import cycle

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


def build(backends: list[str]) -> web.Application:
    turn = cycle(backends)

    async def session(app: web.Application):
        connector = aiohttp.TCPConnector(limit=0)
        app["session"] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        yield
        await app["session"].close()

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP]
        body = request.content if request.can_read_body else None
        async with request.app["session"].request(
            request.method, next(turn) + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
            if answer.content_length is not None:
                return web.Response(body=await answer.read(), status=answer.status, headers=kept)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        build(sys.argv[2:]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, reuse_port=True
    )
