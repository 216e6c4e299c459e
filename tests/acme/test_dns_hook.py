"""The command that writes to the DNS: real processes, which are bounded in time and in what they write."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from devtools.wait import eventually
from lbflask.acme.dns_hook import DnsHook, HookError
from lbflask.core.certificate_orders import DnsRecord

RECORD = DnsRecord("_acme-challenge.shop.example", "a-digest")
LONG = 60.0


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return written


def failure(hook: DnsHook) -> str:
    with pytest.raises(HookError) as failed:
        asyncio.run(hook.add(RECORD))
    assert str(failed.value).isprintable()
    return str(failed.value)


def test_it_gets_its_arguments_the_action_the_name_and_the_value(
    script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBFLASK_TLS__ACME__KEY", "SECRET")
    monkeypatch.setenv("PROVIDER_TOKEN", "of the provider")
    hook = DnsHook((script('echo "$@" >>called; env >>called'), "--zone", "shop example"), LONG)

    async def both() -> None:
        await hook.add(RECORD)
        await hook.remove(RECORD)

    asyncio.run(both())
    called = (tmp_path / "called").read_text()
    assert "--zone shop example add _acme-challenge.shop.example a-digest\n" in called
    assert "--zone shop example remove _acme-challenge.shop.example a-digest\n" in called
    assert "PROVIDER_TOKEN=of the provider" in called
    assert "SECRET" not in called


def test_a_failure_has_the_code_and_the_last_line(script: Callable[[str], str]) -> None:
    reason = failure(DnsHook((script("echo first; printf 'no \\033 zone\\n\\n' >&2; exit 3"),), LONG))
    assert reason == "tls.acme.dns_hook: add _acme-challenge.shop.example failed with exit code 3: no ? zone"
    assert "failed with signal 9" in failure(DnsHook((script("kill -9 $$"),), LONG))


def test_any_amount_of_output_is_read_and_little_is_kept(script: Callable[[str], str]) -> None:
    reason = failure(DnsHook((script("head -c 3000000 /dev/zero | tr '\\0' x; exit 1"),), LONG))
    assert reason.endswith("exit code 1: " + "x" * 200)


def test_it_is_killed_with_what_it_has_started_after_its_time(script: Callable[[str], str], tmp_path: Path) -> None:
    hook = DnsHook((script("sleep 1000 & echo $! >child; echo waiting; wait"),), 1.0)
    assert failure(hook) == "tls.acme.dns_hook: add _acme-challenge.shop.example took more than 1 s: waiting"
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not is_running(child), "its child has ended")


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_calls_do_not_overlap(script: Callable[[str], str]) -> None:
    hook = DnsHook((script("mkdir lock || exit 1; sleep 0.05; rmdir lock"),), LONG)

    async def several() -> None:
        await asyncio.gather(*(hook.add(RECORD) for _ in range(5)))

    asyncio.run(several())


def test_a_command_that_cannot_be_run_is_named(script: Callable[[str], str], tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(HookError, match=r"none' is not there"):
        DnsHook((missing,), LONG).check()
    assert failure(DnsHook((missing,), LONG)).endswith("none' cannot be run: No such file or directory")
    path = script("")
    DnsHook((path,), LONG).check()
    Path(path).chmod(0o644)
    if os.geteuid():
        assert "cannot be run: Permission denied" in failure(DnsHook((path,), LONG))
    with pytest.raises(HookError, match=r"is not executable: chmod \+x"):
        DnsHook((path,), LONG).check()
