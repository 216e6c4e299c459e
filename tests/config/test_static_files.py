from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.http.static_files import StaticFiles
from lbflask.core.routing import Route

ROUTE = 'backends = ["http://a:1"]\n[[routes]]\nname = "static"\nmatch.path = "/static"\n'


def loaded(tmp_path: Path, text: str) -> Route:
    (tmp_path / "public").mkdir(exist_ok=True)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "lbflask.toml").write_text(ROUTE + text)
    (route,) = load({"LBFLASK_CONFIG": str(tmp_path / "lbflask.toml")}).routes
    return route.to_model()


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("text", ['files = "public"', 'files = { root = "public" }', 'files.root = "public/../public"'])
def test_the_root_starts_from_the_directory_of_the_file(tmp_path: Path, text: str) -> None:
    files = loaded(tmp_path, text).files
    assert files is not None
    assert Path(files.root).resolve() == tmp_path / "public"
    assert files == StaticFiles(root=files.root)


def test_all_that_can_be_set_reaches_the_core(tmp_path: Path) -> None:
    text = """
        [routes.files]
        root = "public"
        index = ["a.html", "b.html"]
        fallback = "app/index.html"
        keep_prefix = true
        precompressed = false
        cache_control = "public, max-age=31536000, immutable"
        dot_files = [".well-known"]
        types = { ".x" = "application/x", ".html" = "text/html; charset=iso-8859-1" }
    """
    assert loaded(tmp_path, text).files == StaticFiles(
        root=str(tmp_path / "public"),
        index=("a.html", "b.html"),
        fallback=("app", "index.html"),
        keep_prefix=True,
        precompressed=False,
        cache_control="public, max-age=31536000, immutable",
        dot_files=frozenset({".well-known"}),
        types={".x": "application/x", ".html": "text/html; charset=iso-8859-1"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('files.root = "no"', "lbflask.toml:5: routes[0].files.root: 'no' does not exist"),
        ('files = { root = "a.txt" }', "lbflask.toml:5: routes[0].files.root: 'a.txt' is no directory"),
        ('files = ""', "routes[0].files.root: must be a directory"),
        ("files = {}", "routes[0].files.root"),
        ('files = { root = "public", autoindex = true }', "there is no setting 'routes[0].files.autoindex'"),
        ('files = { root = "public", fallback = "/index.html" }', "must be the path of a file below the root"),
        ('files = { root = "public", fallback = "../index.html" }', "must be the path of a file below the root"),
        ('files = { root = "public", index = ["a/b"] }', "must be the name of a file, without a slash"),
        ('files = { root = "public", index = [".."] }', "must be the name of a file, without a slash"),
        ('files = { root = "public", dot_files = ["git"] }', "must be one name that begins with a dot"),
        ('files = { root = "public", dot_files = [".."] }', "must be one name that begins with a dot"),
        ('files = { root = "public", dot_files = [".a/b"] }', "must be one name that begins with a dot"),
        ('files = { root = "public", types = { glb = "a/b" } }', "must be the end of names in small letters"),
        ('files = { root = "public", types = { ".glb" = "b" } }', "must be type/subtype"),
        ('files = { root = "public", types = { ".glb" = "a/b\\r\\nX: y" } }', "must be type/subtype"),
        ('files = { root = "public", cache_control = "a\\nb" }', "must be of printable ASCII"),
        ('files = "public"\npool = "default"', "has pool and files, of which one of"),
        ('files = "public"\nstrip_prefix = true', "strip_prefix: a route with 'files' does not use it"),
        ('files = "public"\nreplace_prefix = "/a"', "replace_prefix: a route with 'files' does not use it"),
        ('files = "public"\nrequest_headers.remove = ["A"]', "request_headers: a route with 'files' does not use it"),
        ('files = "public"\nmirror.pool = "default"', "mirror: a route with 'files' does not use it"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in complaint(tmp_path, text)


def test_other_routes_have_no_files(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'pool = "default"').files is None


def test_fields_of_the_response_may_be_edited(tmp_path: Path) -> None:
    loaded(tmp_path, 'files = "public"\nresponse_headers.set = { A = "b" }')
    (route,) = load({"LBFLASK_CONFIG": str(tmp_path / "lbflask.toml")}).routes
    edits = route.response_headers.to_model()
    assert edits is not None
    assert edits.of([]) == [("A", "b")]


INTERNAL = 'backends = ["http://a:1"]\n'


def internal(tmp_path: Path, text: str) -> Config:
    (tmp_path / "private").mkdir(exist_ok=True)
    (tmp_path / "lbflask.toml").write_text(INTERNAL + text)
    return load({"LBFLASK_CONFIG": str(tmp_path / "lbflask.toml")})


def test_internal_files_are_inherited_prefix_by_prefix(tmp_path: Path) -> None:
    made = internal(
        tmp_path,
        'internal_files = { "/protected/" = "private" }\n[pools.a]\nbackends = ["http://b:1"]\n'
        'internal_files = { "/media" = "private" }\n[[routes]]\nname = "r"\npool = "a"\n',
    )
    path = str(tmp_path / "private")
    assert made.traffic("default").internal_files == {"/protected/": path}
    assert made.traffic("a", made.routes[0]).internal_files == {"/protected/": path, "/media": path}
    assert internal(tmp_path, "").traffic("default").internal_files == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('internal_files = { root = "private", prefix = "/protected/" }', "must be a path that begins with /"),
        ('internal_files = { "//x" = "private" }', "must be a path that begins with /"),
        (
            'internal_files = { "/x/" = "no" }',
            "lbflask.toml:2: internal_files./x/: 'no' does not exist",
        ),
        ('internal_files = { "/protected/" = "" }', "internal_files./protected/: must be a directory"),
        ('[[routes]]\nname="r"\nfiles = "private"\ninternal_files = { "/a" = "private" }', "does not use it"),
    ],
)
def test_a_mistake_in_internal_files_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        internal(tmp_path, text)
    assert message in str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("path", ["x" * 300, "/x" * 3000, "/etc/passwd/x", "a\\u0000b"])
@pytest.mark.parametrize(
    "text",
    ['[[routes]]\nfiles = "{}"', 'internal_files = {{ "/p/" = "{}" }}', '[buffering]\ndirectory = "{}"'],
    ids=["files", "internal_files", "buffering"],
)
def test_a_path_that_no_directory_can_have_is_an_error_in_one_line(tmp_path: Path, text: str, path: str) -> None:
    (tmp_path / "lbflask.toml").write_text(f'backends = ["http://a:1"]\n{text.format(path)}\n')
    with pytest.raises(ConfigError) as error:
        load({"LBFLASK_CONFIG": str(tmp_path / "lbflask.toml")})
    assert str(error.value).isprintable()
    assert str(error.value).startswith(f"{tmp_path}/lbflask.toml:")
