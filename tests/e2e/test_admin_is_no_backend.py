"""The admin listener trusts connections from this machine, so it is no backend, however its address is spelled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from devtools.servers import ROOT, Gunicorn, HttpResponse, free_port, get, runtime_directory, start_checker
from devtools.wait import eventually
from lbflask.cli import main
from lbflask.core.model import Backend, Override
from lbflask.store import records
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e

#: Pairs of a host in `admin_bind`, and one in a backend's URL that leads there.
SAME = [
    *(("127.0.0.1", host) for host in ("127.0.0.1", "localhost", "LOCALHOST", "127.1", "0.0.0.0", "2130706433")),
    *(("127.0.0.1", host) for host in ("127.0.0.1.", "localhost.", "LOCALHOST.", "0", "0x7f000001")),
    *(("127.0.0.1", host) for host in ("0x7f.1", "[::ffff:127.0.0.1]", "[0:0:0:0:0:FFFF:7f00:1]")),
    *(("[::1]", host) for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "[::]")),
    *(("0.0.0.0", host) for host in ("127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", os.uname().nodename)),
    *(("[::]", host) for host in ("[::1]", "127.0.0.1", "[::ffff:127.0.0.1]")),
    ("[::ffff:127.0.0.1]", "127.0.0.1"),
]
OTHER = [
    *(("127.0.0.1:8090", url) for url in ("http://127.0.0.1:8091", "http://127.0.0.2:8090", "http://192.0.2.1:8090")),
    *(("127.0.0.1:8090", url) for url in ("http://[::1]:8090", "http://nowhere.invalid:8090", "unix:/run/a.sock")),
    *(("0.0.0.0:8090", url) for url in ("http://192.0.2.1:8090", "http://127.0.0.1:8091")),
    *((bind, "http://127.0.0.1:8090") for bind in ("unix:/run/admin.sock", "")),
]


def check(file: Path, **environ: str) -> Result:
    """`lbflask config check`, in this process."""
    clean = dict.fromkeys(key for key in os.environ if key.startswith("LBFLASK_"))
    return CliRunner().invoke(main, ["config", "check"], env={**clean, "LBFLASK_CONFIG": str(file), **environ})


def assert_refused(done: Result, *told: str) -> None:
    assert done.exit_code == 1, done.output
    (line,) = done.output.strip().splitlines()
    assert all(one in line for one in (*told, "admin listener")), line


@pytest.mark.parametrize(("bind", "host"), SAME)
def test_a_configuration_names_the_line(tmp_path: Path, bind: str, host: str) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        f'admin_bind = "{bind}:8090"\nbackends = ["http://127.0.0.1:9"]\n[admin]\ntokens = ["operator:a:{"s" * 32}"]\n'
        f'[pools.api]\nbackends = [\n  "http://127.0.0.1:9",\n  {{ url = "http://{host}:8090" }},\n]\n'
    )
    assert_refused(check(file), f"{file}:6: pools.api.backends[1]", f"http://{host}:8090")


@pytest.mark.parametrize(("bind", "url"), OTHER)
def test_other_places_are_no_mistake(tmp_path: Path, bind: str, url: str) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(f'admin_bind = "{bind}"\nbackends = ["{url}"]\n[admin]\ntokens = ["operator:a:{"s" * 32}"]\n')
    done = check(file)
    assert done.exit_code == 0, done.output


def test_the_environment_is_named_too(tmp_path: Path) -> None:
    done = check(Path(os.devnull), LBFLASK_BACKENDS="http://a:1,http://localhost:8090")
    assert_refused(done, "LBFLASK_BACKENDS", "backends[1]")


@pytest.mark.parametrize(
    "spelling", ["admin.sock", "./admin.sock", "../{}/admin.sock", "link.sock", "linked/admin.sock"]
)
def test_a_socket_is_known_behind_links(tmp_path: Path, spelling: str) -> None:
    with runtime_directory() as directory:
        (directory / "link.sock").symlink_to(directory / "admin.sock")
        (directory / "linked").symlink_to(directory)
        path = f"{directory}/{spelling.format(directory.name)}"
        file = tmp_path / "lbflask.toml"
        file.write_text(f'admin_bind = "unix:{directory}/admin.sock"\nbackends = ["unix:{path}"]\n')
        assert_refused(check(file), f"{file}:2: backends[0]", path)


# At run time


class House:
    """A balancer whose pool is also fed from a file."""

    def __init__(self, balancer: Gunicorn, found: Path, store: str) -> None:
        self.balancer = balancer
        self.found = found
        self.store = store

    def add(self, url: str, name: str = "new") -> HttpResponse:
        return get(
            self.balancer.admin_port,
            "/api/v1/pools/default/backends",
            "POST",
            {"Content-Type": "application/json"},
            json.dumps({"url": url, "name": name}),
        )


@pytest.fixture(scope="module")
def house(store: str, demos: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = tmp_path_factory.mktemp("found") / "backends.toml"
    found.write_text("backends = []\n")
    settings = {
        "redis_url": store,
        "namespace": "admin-address",
        "backends": f"http://127.0.0.1:{demos[0]}",
        "discovery__source": f"file:{found}",
        "health__interval": 0.2,
        "ejection__failures": 0,
    }
    with Gunicorn(workers=1, **settings) as balancer:
        yield House(balancer, found, store)
        balancer.assert_no_traceback()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]"),
        *("127.0.0.1.", "localhost.", "LOCALHOST", "0", "0x7f000001"),
    ],
)
def test_it_cannot_be_added(house: House, host: str) -> None:
    port = house.balancer.admin_port
    answer = house.add(f"http://{host}:{port}")
    assert answer.status == 422
    assert "admin listener" in json.loads(answer.body)["detail"]


def test_the_command_says_so(house: House) -> None:
    port = house.balancer.admin_port
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
    done = subprocess.run(
        [sys.executable, "-m", "lbflask", "add", f"http://localhost:{port}"],
        env=clean | {"LBFLASK_ADMIN_URL": f"http://127.0.0.1:{port}"},
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "admin listener" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_found_there_is_ignored_and_logged_once(house: House, demos: list[int]) -> None:
    port = house.balancer.admin_port
    bind = {"admin_bind": f"127.0.0.1:{port}"}
    settings = {
        "redis_url": house.store, "namespace": "admin-address", "backends": f"http://127.0.0.1:{demos[0]}",
        "discovery__source": f"file:{house.found}", "health__interval": 0.2, **bind,
    }  # fmt: skip
    with start_checker(**settings) as checker:
        for number in (1, 2):
            house.found.write_text(f'backends = ["http://localhost:{port}", "http://127.0.0.1:{demos[number]}"]\n')
            name = f"127.0.0.1:{demos[number]}"
            eventually(lambda name=name: house.balancer.healths().get(name) == "up", f"{name} is found")
        assert f"localhost:{port}" not in house.balancer.healths()
        told = [line for line in checker.output.splitlines() if "admin listener" in line]
        assert len(told) == 1
        assert f"http://localhost:{port}" in told[0]


def test_what_others_have_put_into_the_store_is_never_connected_to(house: House, demos: list[int]) -> None:
    """Another instance has another admin listener, and may add what is this one's."""
    port, keys = house.balancer.admin_port, PoolKeys("admin-address", "default")
    there = Backend("theirs", "127.0.0.1", port, f"http://127.0.0.1:{port}")
    with ExitStack() as after, redis.Redis.from_url(house.store) as facts:
        facts.hset(keys.overrides, "theirs", records.dump_override(Override(added=there)))
        facts.incr(keys.version)
        after.callback(facts.hdel, keys.overrides, "theirs")
        eventually(lambda: "theirs" in house.balancer.healths(), "the worker knows it")
        answers = [get(house.balancer.port, "/api/v1/state") for _ in range(8)]
    assert all(b"answered_by" not in answer.body for answer in answers)
    assert {answer.status for answer in answers} == {200}


@pytest.mark.long
def test_a_check_finds_what_is_in_the_store_down(house: House, demos: list[int]) -> None:
    port, keys = house.balancer.admin_port, PoolKeys("admin-address", "default")
    there = Backend("older", "127.0.0.1", port, f"http://127.0.0.1:{port}")
    settings = {
        "redis_url": house.store, "namespace": "admin-address", "backends": f"http://127.0.0.1:{demos[0]}",
        "health__interval": 0.2, "admin_bind": f"127.0.0.1:{port}",
    }  # fmt: skip
    with ExitStack() as after, redis.Redis.from_url(house.store) as facts, start_checker(**settings):
        facts.hset(keys.overrides, "older", records.dump_override(Override(added=there)))
        facts.incr(keys.version)
        after.callback(facts.hdel, keys.overrides, "older")
        eventually(lambda: house.balancer.healths().get("older") == "down", "it is down")
        shown = json.loads(get(house.balancer.admin_port, "/api/v1/pools/default/backends/older").body)
    assert (shown["state"], shown["serving"]) == ("down", False)
    assert "it is the admin listener" in shown["reason"]


def test_a_free_port_can_still_be_added(house: House) -> None:
    assert house.add(f"http://127.0.0.1:{free_port()}", "fine").status == 200
    assert get(house.balancer.admin_port, "/api/v1/pools/default/backends/fine", "DELETE").status == 200
