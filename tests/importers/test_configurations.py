"""Whole configurations of other proxies, in tests/importers/configurations/: each is imported, the result loads, and it
serves requests as the original does in its proxy; those of Traefik and Caddy as `requests.toml` states.

`findings.txt` has what is not translated, one line each as the command prints it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from devtools.environment import ROOT
from devtools.servers import Gunicorn, require
from lbflask.cli.import_command import READERS
from lbflask.config.load import load
from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.site import FindingKind, Site
from tests.docs.examples import Example
from tests.docs.test_examples import described, differences, problems

CONFIGURATIONS = ROOT / "tests" / "importers" / "configurations"
NAMES = sorted(path.name for path in CONFIGURATIONS.iterdir() if path.is_dir())
#: The proxies that run here, with the files that they run.
RUNNING = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}


def proxy_of(name: str) -> str:
    return name.partition("-")[0]


def files_of(name: str) -> list[Path]:
    """The configuration itself, without what is expected of it."""
    others = {"requests.toml", "findings.txt"}
    return sorted(path for path in (CONFIGURATIONS / name).iterdir() if path.is_file() and path.name not in others)


def imported(name: str) -> Site:
    return READERS[proxy_of(name)]([str(path) for path in files_of(name)])


def not_translated(site: Site) -> list[str]:
    lost = [one for one in site.findings if one.kind is FindingKind.NOT_TRANSLATED]
    return list(finding_lines(lost))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_translated_is_listed(name: str) -> None:
    expected = CONFIGURATIONS / name / "findings.txt"
    assert not_translated(imported(name)) == (expected.read_text("utf-8").splitlines() if expected.exists() else [])


def test_each_feature_has_a_configuration() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (CONFIGURATIONS / "README.md").read_text("utf-8"), re.MULTILINE)[2:]
    named = [name for _, names in rows for name in names.split(", ")]
    assert len(rows) > 50
    assert sorted(set(named)) == NAMES


@pytest.mark.e2e
@pytest.mark.sampled(6, 1)
@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_serves_as_the_original(name: str, redis_url: str, tmp_path: Path) -> None:
    site = imported(name)
    text = text_of(site, "lbflask import")
    with Example(name, tmp_path, CONFIGURATIONS, {"lbflask.toml": text}) as example:
        file = tmp_path / "lbflask.toml"
        file.write_text(example.placed("lbflask.toml"))
        for other, content in site.files.items():
            (tmp_path / other).write_text(content)
        load({"LBFLASK_CONFIG": str(file)})
        if not example.requests:
            return
        original = RUNNING.get(proxy_of(name)) if any(one.get("same", True) for one in example.requests) else None
        if original:
            require(shutil.which(proxy_of(name)) is not None, proxy_of(name))
        if original == "nginx.conf":
            example.start_nginx()
        elif original:
            example.start_haproxy()
        with Gunicorn(config=file, bind=None, redis_url=redis_url, access_log="") as balancer:
            found = []
            for request in example.requests:
                ours = example.send("lbflask.toml", request)
                wrong = [f"lbflask: {one}" for one in problems(request, ours)]
                if original and request.get("same", True):
                    theirs = example.send(original, request)
                    wrong += [f"{proxy_of(name)}: {one}" for one in problems(request, theirs)]
                    wrong += differences(request, ours, theirs)
                found += [f"{described(request)}: {one}" for one in wrong]
            balancer.assert_no_traceback()
            assert not found, "\n".join(found)
