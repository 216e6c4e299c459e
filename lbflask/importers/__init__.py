"""Readers of other proxies' configurations, and the writer of the lbflask.toml that does the same (docs/migrating.md).

Each reader makes a `Site`; `document.text_of` writes it. What a reader does not translate is a finding of the site,
never dropped.
"""
