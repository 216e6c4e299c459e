"""An explanation (core/explain.py) as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from lbflask.core.explain import Asked, Explanation, PoolView
from lbflask.core.http.fields import Fields
from lbflask.core.http.target import BadTarget, request_target


def asked_of(method: str, url: str, headers: tuple[str, ...], client: str) -> Asked:
    """The request that a user means: `url` whole or from its path on, `headers` as `Name: value`. Raises ValueError."""
    fields: Fields = []
    for line in headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"{line!r} is not `Name: value`")
        fields.append((name.strip(), value.strip()))
    try:
        ip_address(client)
    except ValueError:
        raise ValueError(f"{client!r} is not an address") from None
    try:
        target = request_target(method, url.partition("#")[0])
    except BadTarget as bad:
        raise ValueError(f"{url!r}: {bad.reason}") from None
    named = next((value for name, value in fields if name.lower() == "host"), "")
    return Asked(method, target.authority or named, target.text, fields, client)


def lines(asked: Asked, explanation: Explanation) -> Iterator[str]:
    """The explanation, a fact a line."""
    yield f"{asked.method} {asked.target}, Host {asked.host or '(none)'}, from {asked.client}"
    yield f"route       {explanation.route or '(none)'}"
    if explanation.answer:
        yield f"answer      {explanation.answer}; no backend is asked"
        return
    if explanation.target != asked.target:
        yield f"target      {explanation.target}"
    for view in explanation.pools:
        yield from _of_pool(view, explanation.split_key)


def _of_pool(view: PoolView, split_key: str | None) -> Iterator[str]:
    by = "" if split_key is None else f", by the key {split_key!r}"
    yield f"pool        {view.pool}" + (f", for {view.share:g} % by chance" if view.share < 100 else by)
    yield f"strategy    {view.strategy}" + ("" if view.key is None else f", by the key {view.key!r}")
    if view.home:
        yield f"session     at {view.home}"
    if view.overlooked:
        yield f"overlooked  {view.overlooked}: nobody else could serve"
    for place, one in enumerate(view.candidates):
        more = f", warm to {one.warm_percent} %" if one.warm_percent < 100 else ""
        more += ", backup" if one.backup else ""
        name = "" if one.url.endswith(f"/{one.backend}") else f" {one.url}"
        yield f"{'' if place else 'candidates':<12}{one.backend}{name}, weight {one.weight}{more}"
    if not view.candidates:
        yield "candidates  (none): 503"
    for place, left in enumerate(view.left_out):
        yield f"{'' if place else 'left out':<12}{left.backend}: {left.why}"
    for place, plan in enumerate(view.plans if view.candidates else ()):
        yield f"{'then' if place else 'order':<12}{', '.join(plan)}"
