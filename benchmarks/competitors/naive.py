"""The usual first attempt at a proxy: a Flask route, `requests`, a counter in Redis."""

from __future__ import annotations

import os

import redis
import requests
from flask import Flask, Response, request

BACKENDS = os.environ["BACKENDS"].split(",")
app = Flask(__name__)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=256))
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def forward(path: str) -> Response:
    backend = BACKENDS[store.incr("naive") % len(BACKENDS)]
    headers = {name: value for name, value in request.headers if name != "Host"}
    answer = session.request(
        request.method, f"{backend}/{path}", headers=headers, data=request.get_data(), allow_redirects=False, timeout=10
    )
    return Response(answer.content, answer.status_code)
