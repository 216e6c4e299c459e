"""Settings of `access`, and the files that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.access_list import AccessList

BACKENDS = 'backends = ["http://127.0.0.1:1"]\n'


def loaded(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "lbflask.toml"
    file.write_text(BACKENDS + text, "utf-8")
    return load({"LBFLASK_CONFIG": str(file)})


def access_list(config: Config, route: int | None = None) -> AccessList:
    traffic = config.traffic("default", None if route is None else config.routes[route])
    return AccessList(*traffic.access.to_lists(traffic.networks))


def test_lists_are_in_the_file_and_in_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("203.0.113.0/24\n# comment\n2001:db8::/32\n", "utf-8")
    config = loaded(tmp_path, '[access]\ndeny = ["file:deny.txt", "192.0.2.1"]')
    assert config.access.deny == (f"file:{tmp_path}/deny.txt", "192.0.2.1")
    found = access_list(config)
    assert [found.admits(one) for one in ("203.0.113.9", "2001:db8::1", "192.0.2.1", "192.0.2.2")] == [False] * 3 + [
        True
    ]


def test_a_route_replaces_each_key_that_it_sets(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("203.0.113.0/24\n", "utf-8")
    (tmp_path / "office.txt").write_text("198.51.100.0/24\n203.0.113.0/24", "utf-8")
    config = loaded(
        tmp_path,
        '[access]\ndeny = ["file:deny.txt"]\n'
        '[[routes]]\nname = "admin"\nmatch = { path = "/admin" }\npool = "default"\n'
        'access = { allow = ["file:office.txt"] }\n'
        '[[routes]]\nname = "open"\nmatch = { path = "/open" }\nrespond = { status = 204 }\naccess = { deny = [] }\n',
    )
    admin, public = access_list(config, 0), access_list(config, 1)
    assert [admin.admits(one) for one in ("198.51.100.1", "203.0.113.1", "192.0.2.1")] == [True, False, False]
    assert [public.admits(one) for one in ("198.51.100.1", "203.0.113.1", "192.0.2.1")] == [True, True, True]


def test_the_environment_has_a_list_with_commas(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(BACKENDS, "utf-8")
    config = load({"LBFLASK_CONFIG": str(tmp_path / "x"), "LBFLASK_ACCESS__ALLOW": "10.0.0.0/8, ::1, unix"})
    assert config.access.allow == ("10.0.0.0/8", "::1", "unix")


def test_each_bad_line_of_a_file_is_named_and_too_many_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("192.0.2.1\nexample.com\n\n192.0.2.1/24\n" + "x\n" * 20, "utf-8")
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, '[access]\ndeny = ["file:deny.txt"]')
    text = str(error.value)
    assert text.startswith(f"{tmp_path}/lbflask.toml:3: access.deny: '{file}' line 2: 'example.com' is no address")
    assert "line 4: '192.0.2.1/24' is an address within a network: write 192.0.2.0/24, or 192.0.2.1" in text
    assert text.endswith("; 12 more bad lines")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("item", "message"), [("file:", "needs the path"), ("# x", "is empty"), ("1.2.3", "file:PATH")]
)
def test_a_bad_item_is_named(tmp_path: Path, item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"lbflask.toml:3: access.deny\[0\].*'{item}'.*{message}"):
        loaded(tmp_path, f'[access]\ndeny = ["{item}"]')


def test_the_content_of_a_file_is_a_part_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("203.0.113.0/24\n", "utf-8")
    before, same = (loaded(tmp_path, '[access]\ndeny = ["file:deny.txt"]') for _ in range(2))
    file.write_text("203.0.113.0/25\n", "utf-8")
    after = loaded(tmp_path, '[access]\ndeny = ["file:deny.txt"]')
    assert before == same != after
