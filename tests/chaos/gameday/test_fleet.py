"""The files of the fleet."""

from __future__ import annotations

import tomllib

from chaos.gameday.fleet import toml


def test_settings_are_the_same_after_they_were_read() -> None:
    settings = {"a": ["x", {"b-c": 1.5, 'quoted "d"': True}], "e": {}, "f": [], "g": "ä\n"}
    assert tomllib.loads("".join(f"{key} = {toml(value)}\n" for key, value in settings.items())) == settings
