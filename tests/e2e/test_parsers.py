"""The parser of request heads: the one in C where it is installed, else gunicorn's in Python; the start names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.parsers import PARSERS
from devtools.servers import Gunicorn, get, urls
from tests.e2e.test_start import line_of, start

pytestmark = pytest.mark.e2e


@pytest.fixture
def without_c(tmp_path: Path) -> dict[str, str]:
    """An environment in which gunicorn_h1c is not installed."""
    (tmp_path / "gunicorn_h1c.py").write_text("raise ModuleNotFoundError(__name__)")
    return {"PYTHONPATH": str(tmp_path)}


def test_without_the_parser_in_c_the_one_in_python_serves(without_c: dict[str, str], redis_url: str) -> None:
    with Gunicorn(environ=without_c, redis_url=redis_url, backends=urls([9])) as gunicorn:
        assert gunicorn.health()[1]["worker"]["request_parser"] == "python"
        assert "request heads are parsed in Python; `pip install 'lbflask[fast]'`" in gunicorn.output
        assert get(gunicorn.port, "/live").status == 200
        assert gunicorn.stop() == 0
        gunicorn.assert_no_traceback()


@pytest.mark.skipif("fast" not in PARSERS, reason="the parser in C is not installed")
@pytest.mark.long
def test_the_parser_in_c_serves_where_it_is_installed(redis_url: str) -> None:
    with Gunicorn(redis_url=redis_url, backends=urls([9])) as gunicorn:
        assert gunicorn.health()[1]["worker"]["request_parser"] == "fast"
        assert "request heads are parsed in C (gunicorn_h1c)" in gunicorn.output


@pytest.mark.long
def test_a_parser_that_is_asked_for_and_missing_ends_the_start(without_c: dict[str, str]) -> None:
    with start("--http-parser", "fast", environ=without_c) as process:
        assert line_of(process) == (
            "lbflask: http_parser = 'fast' on gunicorn's command line: "
            "gunicorn_h1c not installed but http_parser='fast'"
        )
