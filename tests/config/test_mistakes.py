"""Mistakes in a file, as people make them: one line names file, line, key, and what to write instead."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lbflask.cli import main

MISTAKES = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text("utf-8"))["mistakes"]
BASE = 'backends = ["http://127.0.0.1:8001"]\n'


def case(mistake: dict[str, Any]) -> str:
    return str(mistake["text"]).replace("\n", "; ")


@pytest.mark.parametrize("mistake", MISTAKES, ids=case)
def test_a_mistake_is_named(mistake: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LBFLASK_TEST_UNSET", raising=False)
    file = tmp_path / "lbflask.toml"
    base = mistake.get("base", BASE)
    file.write_text(base + mistake["text"] + "\n", "utf-8")
    result = CliRunner().invoke(main, ["config", "check", str(file)])
    assert result.exit_code != 0, "it is accepted"
    (line,) = result.output.splitlines()
    assert f"{file}:{mistake['line'] + base.count(chr(10))}: " in line
    assert mistake["key"] in line
    assert mistake.get("instead", "") in line.replace(mistake["text"], "")


def test_there_are_eighty() -> None:
    assert len({case(mistake) for mistake in MISTAKES}) >= 80
