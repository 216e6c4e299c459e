from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lbflask.files.document_root import MOST_LINKS, DocumentRoot, IsDirectory, NoFile, RefusedFile


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A root with files, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "public"
    (root / "css").mkdir(parents=True)
    (root / "css" / "a.css").write_text("body{}")
    (root / "index.html").write_text("<h1>")
    return root


def content(root: Path, *names: str) -> str:
    file = DocumentRoot(str(root)).open(names)
    try:
        return os.pread(file.fd, 100, 0).decode()
    finally:
        file.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_is_opened_with_what_it_is(public: Path) -> None:
    assert content(public, "css", "a.css") == "body{}"
    file = DocumentRoot(str(public)).open(["index.html"])
    assert file.status.st_size == 4
    assert repr(file) == f"OpenFile(fd={file.fd}, 4 bytes)"
    file.close()
    file.close()
    assert file.fd == -1


@pytest.mark.parametrize("names", [[], ["css"]])
def test_a_directory_is_none_of_the_files(public: Path, names: list[str]) -> None:
    with pytest.raises(IsDirectory):
        DocumentRoot(str(public)).open(names)


@pytest.mark.parametrize(
    "names", [["no"], ["no", "x"], ["index.html", "x"], ["x" * 256], ["css", "a.css", ""], ["a\0b"]]
)
def test_what_is_not_there_is_no_file(public: Path, names: list[str]) -> None:
    with pytest.raises((NoFile, ValueError)) as error:
        DocumentRoot(str(public)).open(names)
    assert not isinstance(error.value, RefusedFile)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda root: (root / "link").symlink_to(target)


def absolute_link_to(inside: str) -> Callable[[Path], None]:
    return lambda root: (root / "link").symlink_to(root / inside)


@pytest.mark.parametrize(
    "make",
    [
        link_to("css/a.css"),
        link_to("./css/../css//a.css"),
        absolute_link_to("css/a.css"),
        lambda root: ((root / "other").symlink_to("css"), (root / "link").symlink_to("other/a.css")),
        # A volume of Kubernetes: the directory of a version, a link to it, and a link for each file.
        lambda root: (
            (root / "..2026").mkdir(),
            (root / "..2026" / "a").write_text("body{}"),
            (root / "..data").symlink_to("..2026"),
            (root / "link").symlink_to("..data/a"),
        ),
    ],
)
def test_a_link_within_the_root_is_followed(public: Path, make: Callable[[Path], object]) -> None:
    make(public)
    assert content(public, "link") == "body{}"


def test_a_link_to_a_directory_within_the_root_is_followed(public: Path) -> None:
    (public / "deep").mkdir()
    (public / "deep" / "styles").symlink_to("../css")
    assert content(public, "deep", "styles", "a.css") == "body{}"


def test_the_root_may_be_a_link_that_moves(public: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(public)
    (public / "link").symlink_to(public / "css" / "a.css")
    assert content(current, "index.html") == "<h1>"
    assert content(current, "link") == "body{}"
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "index.html").write_text("new")
    current.unlink()
    current.symlink_to(tmp_path / "next")
    assert content(current, "index.html") == "new"


@pytest.mark.parametrize(
    "make",
    [
        link_to("../secret.txt"),
        link_to("css/../../secret.txt"),
        link_to("/etc/passwd"),
        link_to("/"),
        lambda root: (root / "link").symlink_to(root.parent / "secret.txt"),
        lambda root: (root / "link").symlink_to(f"{root}-not/x"),
        lambda root: (root / "link").symlink_to(f"{root}/../secret.txt"),
        lambda root: ((root / "out").symlink_to(".."), (root / "link").symlink_to("out/secret.txt")),
    ],
)
def test_a_link_that_leads_out_is_refused(public: Path, make: Callable[[Path], object]) -> None:
    make(public)
    before = descriptors()
    with pytest.raises(RefusedFile, match="leads out of"):
        DocumentRoot(str(public)).open(["link"])
    assert descriptors() == before


def test_a_directory_that_is_a_link_out_is_refused(public: Path) -> None:
    (public / "up").symlink_to("..")
    with pytest.raises(RefusedFile):
        DocumentRoot(str(public)).open(["up", "secret.txt"])


def test_links_in_a_ring_end(public: Path) -> None:
    (public / "a").symlink_to("b")
    (public / "b").symlink_to("a")
    with pytest.raises(RefusedFile, match="too many links"):
        DocumentRoot(str(public)).open(["a"])


def test_links_that_grow_end(public: Path) -> None:
    """Each stands for two thousand names; together they would be followed for long."""
    long = "x/" * 2000
    for number in range(MOST_LINKS):
        (public / f"l{number}").symlink_to(f"l{number + 1}/{long}")
    with pytest.raises(RefusedFile, match="too long"):
        DocumentRoot(str(public)).open(["l0"])


def test_a_name_that_the_system_cannot_have_is_no_file(public: Path) -> None:
    root = DocumentRoot(str(public))
    with pytest.raises(NoFile):
        root.open(["\ud800"])
    assert not root.exists("\ud800")
    assert root.status("\ud800") is None


def test_a_link_to_nothing_is_no_file(public: Path) -> None:
    (public / "link").symlink_to("no")
    with pytest.raises(NoFile):
        DocumentRoot(str(public)).open(["link"])


def test_no_fifo_socket_or_device_is_opened(public: Path) -> None:
    """A FIFO without a writer would block whoever opens it to read."""
    os.mkfifo(public / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        # By a short name: the path of the test may be longer than a socket's may be.
        here = os.open(public, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        for name in ("fifo", "socket"):
            with pytest.raises(RefusedFile, match="no regular file"):
                DocumentRoot(str(public)).open([name])
    with pytest.raises(RefusedFile):
        DocumentRoot("/dev").open(["null"])


def test_a_root_that_is_gone_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(NoFile):
        DocumentRoot(str(tmp_path / "gone")).open(["x"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_of_the_system(public: Path) -> None:
    (public / "index.html").chmod(0)
    with pytest.raises(PermissionError):
        DocumentRoot(str(public)).open(["index.html"])


def test_no_descriptor_is_left_open(public: Path) -> None:
    (public / "link").symlink_to(public / "css" / "a.css")
    before = descriptors()
    for names in (["link"], ["css", "a.css"], ["css"], ["no"], ["css", "no", "x"]):
        try:
            DocumentRoot(str(public)).open(names).close()
        except (NoFile, IsDirectory):
            pass
    assert descriptors() == before


def test_hints_say_what_a_path_seems_to_be(public: Path) -> None:
    root = DocumentRoot(str(public))
    assert root.exists("css/a.css")
    assert not root.exists("css/b.css")
    status = root.status("css/a.css")
    assert status is not None
    assert status.st_size == 6
    assert root.status("no") is None
    assert root.status("a\0b") is None
    assert str(public) in repr(root)
