"""A configuration in several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lbflask.config import load as loading
from lbflask.config.documents import MAX_DEPTH
from lbflask.config.load import ConfigError, admin_bind, load, place_of
from lbflask.config.schema import Config
from tests.support.changes import property_test

test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")

Write = Callable[..., Path]
MAIN = "backends = ['http://a:1']\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files, and returns the path of the first."""

    def write(**files: str) -> Path:
        paths = []
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            paths.append(path)
        return paths[0]

    return write


def loaded(path: Path, **environ: str) -> Config:
    return load({"LBFLASK_CONFIG": str(path), **environ})


def refusal(path: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(path, **environ)
    return str(caught.value).replace(f"{path.parent}/", "")


def route(name: str) -> str:
    return f"[[routes]]\nname = '{name}'\nmatch = {{ path = '/{name}' }}\npool = 'default'\n"


def test_tables_are_merged_and_routes_joined_in_the_order_of_the_files(write: Write) -> None:
    include = "include = ['conf.d/*.toml', 'last.toml']\n"
    main = write(main=include + MAIN + "[timeouts]\nconnect = 1\n" + route("a"), never=route("never"))
    (main.parent / "conf.d").mkdir()
    (main.parent / "conf.d/20.toml").write_text(route("c") + "[timeouts]\nfirst_byte = 2\n")
    (main.parent / "conf.d/10.toml").write_text(route("b") + "[pools.api]\nbackends = ['http://b:2']\n")
    (main.parent / "conf.d/other.txt").write_text("no TOML")
    (main.parent / "last.toml").write_text("[[routes]]\nname = 'api'\nmatch = { path = '/z' }\npool = 'api'\n")
    config = loaded(main)
    assert [one.name for one in config.routes] == ["a", "b", "c", "api"]
    assert (config.timeouts.connect, config.timeouts.first_byte) == (1, 2)
    assert list(config.pools) == ["api"]


def test_a_mistake_is_in_the_file_that_has_it(write: Write) -> None:
    wrong = route("c").replace("'default'", "'gone'")
    main = write(main="include = ['one.toml']\n" + MAIN + route("a"), one="\n" + route("b") + wrong)
    assert refusal(main).startswith("one.toml:9: routes[2].pool")
    main = write(main="include = ['one.toml']\n" + MAIN, one="[timeouts]\nconnect = -1\n")
    assert refusal(main).startswith("one.toml:2: timeouts.connect = -1: ")
    assert place_of("timeouts.connect", {"LBFLASK_CONFIG": str(main)}) == f"{main.parent}/one.toml:2"
    assert refusal(main, LBFLASK_TIMEOUTS__CONNECT="-2").startswith("LBFLASK_TIMEOUTS__CONNECT: ")


def test_a_key_of_two_files_is_refused_and_both_are_named(write: Write) -> None:
    main = write(
        main="include = ['one.toml']\n" + MAIN + "[limits]\nbody = 1\n", one="[limits]\nline = 256\nbody = 2\n"
    )
    assert refusal(main) == f"one.toml:3: limits.body: {main}:4 sets it too".replace(f"{main.parent}/", "")
    main = write(main="include = ['one.toml']\n" + MAIN, one="\n" + MAIN)
    assert refusal(main) == "one.toml:2: backends: main.toml:2 sets it too"


def test_relative_paths_start_from_the_file_that_has_them(write: Write) -> None:
    main = write(
        main="include = ['sub/one.toml']\n" + MAIN,
        sub__one="include = ['two.toml']\n",
        sub__two="access_log = 'a.log'\n",
    )
    assert loaded(main).access_log == str(main.parent / "sub" / "a.log")


def test_what_cannot_be_included_is_named_with_its_place(write: Write) -> None:
    assert refusal(write(main=MAIN + "include = ['gone.toml']\n")) == (
        "main.toml:2: include: gone.toml: cannot be read: No such file or directory"
    )
    assert refusal(write(main=MAIN + "include = ['one.toml']\n", one="a = = 1\n")).startswith("one.toml:1: is not TOML")
    assert refusal(write(main=MAIN + "include = 5\n")) == "main.toml:2: include: must be a list of names of files"
    assert refusal(write(main=MAIN + "include = ['']\n")) == "main.toml:2: include: must be a list of names of files"
    assert refusal(write(main=MAIN + "include = ['one.toml']\n", one="\nunknown = 1\n")).startswith(
        "one.toml:2: there is no setting 'unknown'"
    )
    assert "there is no setting 'include'" in refusal(write(main=MAIN), LBFLASK_INCLUDE="one.toml")


def test_a_pattern_may_fit_no_file(write: Write) -> None:
    assert loaded(write(main=MAIN + "include = ['conf.d/*.toml']\n")).routes == ()


def test_files_that_include_each_other_end(write: Write) -> None:
    main = write(main=MAIN + "include = ['one.toml']\n", one="include = ['main.toml']\n")
    assert refusal(main) == "one.toml:1: include: main.toml is read already"
    assert refusal(write(main=MAIN + "include = ['*.toml']\n")).endswith("main.toml is read already")


def test_depth_and_number_are_bounded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {f"f{n}": f"include = ['f{n + 1}.toml']\n" for n in range(1, MAX_DEPTH + 2)}
    assert f"more than {MAX_DEPTH} deep" in refusal(write(main=MAIN + "include = ['f1.toml']\n", **chain))
    monkeypatch.setattr("lbflask.config.documents.MAX_FILES", 2)
    main = write(main=MAIN + "include = ['g*.toml']\n", g1="", g2="", g3="")
    assert refusal(main) == "main.toml:2: include: 'g*.toml' makes more than 2 files"


def test_the_admin_listener_may_be_in_an_included_file(write: Write) -> None:
    main = write(main="include = ['one.toml']\n" + MAIN, one="admin_bind = '127.0.0.1:${ADMIN}'\n")
    environ = {"LBFLASK_CONFIG": str(main), "ADMIN": "9999"}
    assert load(environ).admin_bind == "127.0.0.1:9999"
    assert admin_bind(environ)[0] == "127.0.0.1:9999"
    assert "(with 1 included)" in loading.sources(environ)


@pytest.mark.parametrize("name", ["a\\u0000b", "**x.toml", "conf.d/**.toml", "a\\u0000*"])
def test_what_is_no_name_of_files_is_named_with_its_place(write: Write, name: str) -> None:
    assert refusal(write(main=MAIN + f'include = ["{name}"]\n')).startswith("main.toml:2: include: ")


def test_a_ring_of_links_is_no_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ring.toml").symlink_to("ring.toml")
    assert refusal(write(main=MAIN + "include = ['ring.toml']\n")).startswith(
        "main.toml:2: include: ring.toml: cannot be"
    )
    assert refusal(tmp_path / "ring.toml" / ".." / "main.toml").endswith("Too many levels of symbolic links")


@pytest.mark.parametrize("wrong", ["routes = 5", "routes = true", "listeners = true", "listeners = 1.5"])
def test_a_list_that_is_none_is_rejected_beside_other_files(write: Write, wrong: str) -> None:
    main = write(main="include = ['one.toml']\n" + MAIN + wrong, one=route("a"))
    assert refusal(main).startswith(("main.toml:3: ", "one.toml:1: routes: main.toml:3 sets it too"))


@pytest.mark.parametrize("setting", ["metrics = true", "slow_start = 3", "via = ''", "strategy = 'first'"])
def test_a_key_of_two_files_is_an_error_also_with_the_same_value(write: Write, setting: str) -> None:
    main = write(main="include = ['one.toml']\n" + MAIN + setting, one=setting)
    assert refusal(main).endswith("main.toml:3 sets it too")


def test_a_byte_order_mark_is_no_part_of_a_file(write: Write) -> None:
    main = write(main="\ufeffinclude = ['one.toml']\n" + MAIN, one="\ufeffslow_start = 3\n")
    assert loaded(main).slow_start == 3.0
    assert refusal(write(main="\ufeffbackends = 1\n")).startswith("main.toml:1: backends")
