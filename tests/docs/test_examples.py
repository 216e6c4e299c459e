"""Each example is served beside nginx with the equivalent configuration: the same responses, backends and fields."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from devtools.servers import Gunicorn, require
from tests.docs.examples import EXAMPLES, Example, Served, values

pytestmark = pytest.mark.e2e

NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def allowed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def described(request: dict[str, Any]) -> str:
    return f"{request.get('method', 'GET')} {request.get('host', '')}{request['target']} {request.get('fields', '')}"


def problems(request: dict[str, Any], served: Served) -> list[str]:
    """How a response and its arrival differ from what the table states."""
    found = []
    if served.status not in allowed(request["status"]):
        found.append(f"status {served.status}, not {request['status']}: {served.body[:200]!r}")
    if "backend" not in request:
        return [*found, *(f"{arrival.backend} got it" for arrival in served.arrivals)]
    if len(served.arrivals) != 1:
        return [*found, f"{len(served.arrivals)} arrivals"]
    (arrival,) = served.arrivals
    if arrival.backend not in allowed(request["backend"]):
        found.append(f"backend {arrival.backend}, not {request['backend']}")
    if arrival.target != request.get("passes", request["target"]):
        found.append(f"the backend got {arrival.target}")
    if arrival.method != request.get("method", "GET"):
        found.append(f"the backend got {arrival.method}")
    return found


def differences(request: dict[str, Any], ours: Served, theirs: Served) -> list[str]:
    """How we differ from nginx in the fields that the table names, and in a body that no backend made."""
    found = []
    for name in request.get("gets", ()):
        pair = [[without_port(value) for value in values(served.fields, name)] for served in (ours, theirs)]
        if pair[0] != pair[1] or not pair[0]:
            found.append(f"response field {name}: {pair[0]}, nginx {pair[1]}")
    for name in request.get("sees", ()):
        seen = [values(served.arrivals[0].fields, name) for served in (ours, theirs) if served.arrivals]
        if len(seen) < 2 or seen[0] != seen[1] or not seen[0]:
            found.append(f"request field {name}: ours and nginx's: {seen}")
    if "backend" not in request and ours.status in (200, 206) and ours.body != theirs.body:
        found.append(f"body {ours.body[:100]!r}, nginx {theirs.body[:100]!r}")
    return found


def without_port(value: str) -> str:
    """A Location without the port that stands for 443, and a type without blanks."""
    return re.sub(r"^(https://[^/:]+):\d+/", r"\1/", value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(4, 1)
def test_an_example_is_served_as_by_nginx(name: str, redis_url: str, tmp_path: Path) -> None:
    require(shutil.which("nginx") is not None, "nginx")
    with Example(name, tmp_path) as example:
        file = tmp_path / "lbflask.toml"
        file.write_text(example.placed("lbflask.toml"))
        example.start_nginx()
        with Gunicorn(config=file, bind=None, redis_url=redis_url, access_log="") as balancer:
            found = []
            for request in example.requests:
                served = {of: example.send(of, request) for of in ("lbflask.toml", "nginx.conf")}
                ours, theirs = served["lbflask.toml"], served["nginx.conf"]
                wrong = [f"lbflask: {one}" for one in problems(request, ours)]
                if request.get("same", True):
                    wrong += [f"nginx: {one}" for one in problems(request, theirs)]
                    wrong += differences(request, ours, theirs)
                found += [f"{described(request)}: {one}" for one in wrong]
            balancer.assert_no_traceback()
            assert not found, "\n".join(found)


def test_there_are_ten() -> None:
    assert len(NAMES) >= 10
