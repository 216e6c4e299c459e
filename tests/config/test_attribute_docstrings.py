from __future__ import annotations

import compileall
import importlib
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.control.api import models


class Base(BaseModel):
    """A table."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: int = 1
    """The first,

    in two parts.
    """
    silent: int = 2
    later: int = 3
    # A comment in between.
    """The docstring below a comment."""
    constant: ClassVar[int] = 4
    """No field."""

    def method(self) -> None:
        """No field either."""


class Derived(Base):
    first: int = 4
    """Declared anew."""
    later: int = 5  # with the docstring that it had, unlike in pydantic
    more: int = 6
    """One more."""


def test_they_are_those_that_pydantic_reads() -> None:
    for kind in (Base, Derived):
        described = {name: field.description for name, field in kind.model_fields.items() if field.description}
        expected = {name: " ".join(text.split()) for name, text in described.items()}  # in one line
        kept = {"later": "The docstring below a comment."} if kind is Derived else {}
        assert attribute_docstrings(kind) == {**expected, **kept}
    assert attribute_docstrings(Derived)["first"] == "Declared anew."


def test_without_source_files_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "compiled_only.py").write_text(
        'from pydantic import BaseModel\nclass Table(BaseModel):\n    key: int\n    """A key."""\n'
    )
    compileall.compile_dir(tmp_path, quiet=1, legacy=True)
    (tmp_path / "compiled_only.py").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    assert attribute_docstrings(importlib.import_module("compiled_only").Table) == {}


def test_a_model_without_any_has_none() -> None:
    assert attribute_docstrings(models.Model) == {}
