"""Files that an application names: it checks who asks, and the balancer sends the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, get
from devtools.wait import eventually
from tests.e2e.test_stock_workers import WORKERS
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

LARGE = os.urandom(1 << 16) * 20


def named(line: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 2\r\n{line}\r\n\r\nno".encode()


@pytest.fixture(scope="module", params=first_of(["own", "gthread"]))
def balancer(
    request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    place = tmp_path_factory.mktemp("internal")
    (place / "private").mkdir()
    (place / "private" / "a b.bin").write_bytes(LARGE)
    (place / "secret").write_text("secret")
    pages = {
        "redirect": named("X-Accel-Redirect: /protected/a%20b.bin"),
        "sendfile": named(f"X-Sendfile: {place}/private/a b.bin"),
        "out": named("X-Accel-Redirect: /protected/../secret"),
        "off": named("X-Accel-Redirect: /protected/a%20b.bin"),
    }
    with ExitStack() as stack:
        text = ""
        for name, page in pages.items():
            backend = stack.enter_context(ScriptedBackend(answering_always(page)))
            files = 'internal_files = { "/protected/" = "private" }\n' if name != "off" else ""
            text += f'[pools.{name}]\nbackends = ["{backend.url}"]\n{files}'
            text += f'[[routes]]\nname = "{name}"\nmatch = {{ path = "/{name}" }}\npool = "{name}"\n'
        (place / "lbflask.toml").write_text(text)
        balancer = stack.enter_context(
            Gunicorn(
                *WORKERS[request.param],
                config=place / "lbflask.toml",
                redis_url=store,
                namespace=f"internal-{request.param}",
                workers=1,
            )
        )
        yield balancer
        assert balancer.stop() == 0
        balancer.assert_no_traceback()


@pytest.mark.parametrize("name", ["redirect", "sendfile"])
def test_the_application_names_the_file_and_the_client_gets_it(balancer: Gunicorn, name: str) -> None:
    got = get(balancer.port, f"/{name}")
    assert (got.status, got.body == LARGE, got.field("Content-Type")) == (200, True, "text/x")
    assert got.field("X-Accel-Redirect") is got.field("X-Sendfile") is None
    part = get(balancer.port, f"/{name}", headers={"Range": "bytes=5-9", "If-Range": got.field("ETag") or ""})
    assert (part.status, part.body) == (206, LARGE[5:10])


def test_what_is_outside_is_not_found_and_logged(balancer: Gunicorn) -> None:
    got = get(balancer.port, "/out")
    assert (got.status, b"secret" in got.body) == (404, False)
    eventually(lambda: "which is in none of internal_files" in balancer.output, "the log has the reason")


def test_without_the_setting_the_field_passes(balancer: Gunicorn) -> None:
    got = get(balancer.port, "/off")
    assert (got.body, got.field("X-Accel-Redirect")) == (b"no", "/protected/a%20b.bin")
