"""The documentation site: Sphinx with MyST and Furo, built by `make docs` into `build/site`.

Its sources are the Markdown files of the repository, as a code host shows them. What only the site needs, its
navigation, is here. A page that the navigation does not have is an error of the build. Nothing of the site comes from
another host: diagrams stay the text that they are in the sources.
"""

from __future__ import annotations

from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import lbflask

_ROOT = Path(__file__).resolve().parents[1]

project = "lbflask"
release = lbflask.__version__
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "deploy/**.md", "*.md"]
exclude_patterns = [".*", "build", "dist", "*.egg-info", "tests", "benchmarks/results"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"lbflask {release}"
html_extra_path = ["site"]
html_copy_source = False
html_show_copyright = False

#: The order of the pages, by the kinds of documentation of Diátaxis (https://diataxis.fr), as patterns of files.
_NAVIGATION = {
    "Start": ("README.md", "docs/tutorial.md"),
    "How-to": (
        "docs/how-to/*.md",
        "docs/examples/README.md",
        "docs/operating.md",
        "docs/runbook.md",
        "docs/stopping.md",
        "docs/reload.md",
        "docs/debugging.md",
        "docs/migrating.md",
        "docs/upgrading.md",
        "docs/sizing.md",
        "docs/faq.md",
        "deploy/**/*.md",
    ),
    "Reference": (
        "docs/configuration.md",
        "docs/command-line.md",
        "docs/admin-api.md",
        "docs/metrics.md",
        "docs/logging.md",
        "docs/tracing.md",
        "docs/redis-keys.md",
        "docs/hooks.md",
        "docs/supported-http.md",
        "docs/forwarding.md",
        "docs/glossary.md",
        "CHANGELOG.md",
    ),
    "Explanation": (
        "docs/strategies.md",
        "docs/routing.md",
        "docs/inheritance.md",
        "docs/hedging.md",
        "docs/variables.md",
        "docs/sessions.md",
        "docs/limits.md",
        "docs/health-checks.md",
        "docs/backend-life.md",
        "docs/discovery.md",
        "docs/shared-state.md",
        "docs/scaling.md",
        "docs/performance.md",
        "docs/soak.md",
        "docs/architecture.md",
    ),
    "Contributing": ("CONTRIBUTING.md", "docs/contributing/*.md", "docs/dependencies.md", "SECURITY.md"),
    "Decisions": ("docs/adr/README.md", "docs/adr/[0-9]*.md"),
}
#: Languages of blocks that Pygments does not have.
_PLAIN = ("mermaid", "haproxy", "caddyfile")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)
    for language in _PLAIN:
        app.add_lexer(language, TextLexer)


def _add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the navigation to the front page, in place of directives that a code host would show as text."""
    if page == root_doc:
        source[0] += "".join(_toctree(caption, patterns) for caption, patterns in _NAVIGATION.items())


def _toctree(caption: str, patterns: tuple[str, ...]) -> str:
    pages = [page.relative_to(_ROOT) for pattern in patterns for page in sorted(_ROOT.glob(pattern))]
    entries = "".join(f"/{page.with_suffix('')}\n" for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}```\n"
