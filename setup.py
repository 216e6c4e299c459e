"""The description on an index page: README.md, whose links into the repository lead nowhere from there.

With a `Source` in [project.urls] of pyproject.toml they become absolute, for the version that is built. Without it,
which says that the project has no public address, they become text, and pictures are left out.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def description(readme: str, source: str | None, version: str) -> str:
    """The README with absolute links below `source`, or with the paths as text when there is no `source`."""
    picture = r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n*"
    link = r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)"
    if source:
        base = f"{source.removesuffix('/')}/blob/v{version}/"
        readme = re.sub(picture, rf"![\1]({base}\2?raw=true)\n\n", readme)
        return re.sub(link, rf"[\1]({base}\2)", readme)
    readme = re.sub(picture, "", readme)
    return re.sub(link, lambda found: f"`{found[2]}`" if found[1] == found[2] else f"{found[1]} (`{found[2]}`)", readme)


if __name__ == "__main__":
    project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
    readme = (HERE / "README.md").read_text("utf-8")
    setup(
        long_description=description(readme, project["urls"].get("Source"), project["version"]),
        long_description_content_type="text/markdown",
    )
