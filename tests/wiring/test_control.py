"""The identity of an instance."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.wiring.control import identity


def config(**settings: object) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], "bind": ["127.0.0.1:80", "[::1]:80"], **settings})


def test_an_instance_has_its_host_and_first_address_for_a_name() -> None:
    assert identity(config()).instance == f"{os.uname().nodename}/127.0.0.1:80"


def test_a_name_that_is_set_counts_and_makes_no_other_configuration() -> None:
    named = identity(config(instance="edge-1"))
    assert named.instance == "edge-1"
    assert named.config == version(config())


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "x" * 65, "a{b}", "a'b"])
def test_a_name_is_a_word(name: str) -> None:
    with pytest.raises(ValidationError, match="instance"):
        config(instance=name)
