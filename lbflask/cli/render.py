"""Output of the command line: documents of the API as tables that are readable without colours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lbflask.core.explain import RequestQuery
from lbflask.core.operator_note import OperatorNote, described

#: Width of pipes and files: more than any line has.
UNBOUNDED = 1 << 20
_STYLES = {
    state: style
    for style, states in {
        "green": ("up", "ok"),
        "cyan": ("standby",),
        "yellow": ("checking", "unknown", "degraded", "failing_open"),
        "magenta": ("draining", "stopping"),
        "dim": ("idle", "off"),
        "bold red": ("down", "ejected", "partly_down", "silent"),
    }.items()
    for state in states
}
#: What a pool ignores so that a backend can serve, in words.
_OVERLOOKED = {"ejected": "ejections", "unchecked": "missing checks", "all": "all failures"}
_SIGNS = {"good": ("✓", "green"), "warning": ("!", "yellow"), "bad": ("✗", "bold red")}


def styled(text: str) -> Text:
    """A state or status in its colour."""
    return Text(text.replace("_", " "), style=_STYLES.get(text, ""))


class Sheet:
    """Rows with notes. No value is truncated: a layout is chosen that fits the width.

    Layouts: a table; a table without the notes, which follow it; a paragraph for each row.
    """

    def __init__(self, text_columns: Sequence[str], number_columns: Sequence[str], note: str = "") -> None:
        self._text_columns, self._number_columns, self._note = text_columns, number_columns, note
        self._rows: list[tuple[list[Text], str]] = []

    def add(self, *cells: str | Text, note: str = "") -> None:
        """Add a row with a cell for each column."""
        self._rows.append(([Text(cell) if isinstance(cell, str) else cell for cell in cells], note))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The layout that fits the width."""
        with_notes, without_notes = self._table(self._note), self._table("")
        if _fits(with_notes, console, options):
            yield with_notes
        elif _fits(without_notes, console, options):
            yield without_notes
            yield from self._notes()
        else:
            yield from self._paragraphs()

    def _table(self, note: str) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in self._text_columns:
            table.add_column(title, no_wrap=True)
        for title in self._number_columns:
            table.add_column(title, no_wrap=True, justify="right")
        if note:
            table.add_column(note, no_wrap=True)
        for cells, text in self._rows:
            table.add_row(*cells, *([Text(text)] if note else ()))
        return table

    def _notes(self) -> Iterator[Text]:
        """Each note once, with its rows."""
        rows_by_note: dict[str, list[str]] = {}
        for (first, *_), note in self._rows:
            rows_by_note.setdefault(note, []).append(first.plain)
        for note, names_with_note in rows_by_note.items():
            if note:
                yield Text(f"  {', '.join(names_with_note)}: {note}", overflow="fold")

    def _paragraphs(self) -> Iterator[RenderableType]:
        titles = (*self._text_columns, *self._number_columns)
        for (first, *others), note in self._rows:
            yield Text(first.plain, overflow="fold")
            parts = (Text.assemble(f"{title} ", cell) for title, cell in zip(titles[1:], others, strict=True))
            about = Text(", ").join(parts)
            yield Padding(Text.assemble(about, f": {note}" if note else "", overflow="fold"), (0, 0, 0, 2))


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    unbounded = options.update(max_width=UNBOUNDED)
    return console.measure(table, options=unbounded).maximum <= options.max_width


def summary(state: dict[str, Any]) -> RenderableType:
    """The summary of the fleet."""
    fleet, store = state["fleet"], state["fleet"]["store"]
    head = Text.assemble(
        "fleet ", styled(fleet["status"]), f", {_figures(fleet)}, store ",
        ("connected", "green") if store["connected"] else (f"unreachable: {store['why']}", "bold red"),
        (" (stale: last known state)", "bold yellow") if fleet["stale"] else "",
    )  # fmt: skip
    return Group(head, answers(fleet["answers"] or fleet["local"]["answers"]), "", instances(fleet["instances"]))


def answers(found: dict[str, Any]) -> RenderableType:
    """What clients got: answers per second by class, and below them those that need a cause, by cause."""
    if not found["per_second"]:
        return Text("clients got no answers in the last ten seconds", style="dim")
    classes = ", ".join(f"{per_second:.1f} {name}" for name, per_second in found["by_class"].items())
    head = Text(f"clients got {classes} per second, {found['error_share'] * 100:.1f} % errors")
    causes = Sheet(("cause", "status", "limit or pool"), ("answers/s", "share"))
    for one in found["causes"]:
        share = one["per_second"] / found["per_second"] * 100
        numbers = f"{one['per_second']:.1f}", f"{share:.1f} %"
        causes.add(one["cause"].replace("_", " "), one["status"], one["name"] or "-", *numbers)
    return Group(head, "", causes) if found["causes"] else head


def _figures(fleet: dict[str, Any]) -> str:
    """The figures of the whole fleet; while they are unknown, how old the last ones are, and this worker's own."""
    if fleet["local"] is None:
        return f"{fleet['requests_per_second']:.1f} answers/s, {fleet['in_flight']} in flight"
    age = "never read" if fleet["as_of"] is None else f"as of {max(0.0, fleet['at'] - fleet['as_of']):.0f} s ago"
    local = fleet["local"]
    return (
        f"answers/s unknown (instances {age}), at the worker that answers {local['requests_per_second']:.1f} "
        f"answers/s, {local['in_flight']} in flight"
    )


def instances(found: Iterable[dict[str, Any]]) -> Sheet:
    """Instances, one per line."""
    sheet = Sheet(("instance", "state", "version", "config"), ("workers", "in flight", "answers/s"), note="drain")
    for one in found:
        workers, version, config = one["workers"], ", ".join(one["version"]), ", ".join(one["config"])
        unknown = any(worker["in_flight"] is None for worker in workers)
        in_flight = "?" if unknown else str(sum(worker["in_flight"] for worker in workers))
        rate = "?" if unknown else f"{sum(worker['requests_per_second'] for worker in workers):.1f}"
        state = "draining" if workers else "off"
        if one["silent_workers"] and not workers:
            state = "silent"
        elif unknown:
            state = "unknown"
        elif one["stopping"]:
            state = "stopping"
        elif one["drain"] is None:
            state = "serves"
        expected = one["expected_workers"]
        serving = str(len(workers)) if expected in (None, len(workers)) else f"{len(workers)} of {expected}"
        numbers = serving, in_flight, rate
        sheet.add(
            one["name"], styled(state), version, config, *numbers, note="" if one["drain"] is None else drain_text(one)
        )
    return sheet


def drain_text(instance: dict[str, Any]) -> str:
    """By whom the instance is drained, and until when."""
    if instance["drain"] is None:  # the store was lost meanwhile
        return "is drained"
    until = time_text(instance["drain"]["until"])
    reason = f": {instance['drain']['reason']}" if instance["drain"]["reason"] else ""
    return f"is drained until {until}, by {instance['drain']['who']}{reason}"


def bans(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Bans, one per line."""
    if not found:
        return Text("no address is banned")
    sheet = Sheet(("network", "until", "by"), (), note="reason")
    for one in found:
        sheet.add(one["network"], time_text(one["until"]), one["rule"] or one["who"], note=one["reason"])
    return sheet


def newest_bans(state: Mapping[str, Any]) -> list[RenderableType]:
    """How many bans there are, and the newest ones, in a line; nothing without any."""
    found = state.get("bans", {"count": 0})
    if not found["count"]:
        return []
    now, shown = state["fleet"]["at"], []
    for one in found["newest"]:
        given = f"rule {one['rule']}" if one["rule"] else one["who"]
        shown.append(f"{one['network']} for {duration_text(one['until'] - now)} more, by {given}")
    more = ", …" if found["count"] > len(shown) else ""
    what = "1 ban" if found["count"] == 1 else f"{found['count']} bans"
    return [Group("", Text(f"{what}: {'; '.join(shown)}{more} (`lbflask bans`)"))]


def duration_text(seconds: float) -> str:
    """A duration in its largest unit, rounded: `90 s`, `59 min`, `12 h`, `30 d`."""
    for unit, length, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{max(0, round(seconds / length))} {unit}"
    return f"{round(seconds / 86_400)} d"


def time_text(at: float) -> str:
    """A moment in seconds since the epoch, as local time."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def pools(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Pools with their backends."""
    parts: list[RenderableType] = []
    for pool in found:
        checker = pool["checker"]
        checks = ("no checker", "bold red") if checker["silent"] else f"checked by {checker['leader']}"
        ignored = _OVERLOOKED.get(pool["overlooks"], pool["overlooks"])
        overlooks = (", ", (f"failing open: ignoring {ignored}", "bold red")) if ignored else ()
        serving = f" {pool['strategy']}, {pool['serving']} of {len(pool['backends'])} serve"
        title = Text.assemble((f"pool {pool['name']}", "bold"), serving, *overlooks, ", ", checks)
        parts += ["", title, backends(pool["backends"])]
        for name in pool["removed"]:
            note = pool["removal_notes"].get(name)
            author = None if note is None else OperatorNote(note["who"], note["at"], note["reason"])
            parts.append(Text(f"{name}: {described('removed', author, time.time())}", "dim"))
    return Group(*parts)


def backends(found: Iterable[dict[str, Any]]) -> Sheet:
    """Backends, one per line."""
    sheet = Sheet(
        ("backend", "state"), ("weight", "in flight", "attempts/s", "failed", "p50 ms", "p99 ms"), note="reason"
    )
    for backend in found:
        weight = str(backend["weight"])
        if backend["weight"] != backend["usual_weight"]:
            weight += f" (configured {backend['usual_weight']})"
        sheet.add(
            backend["id"],
            styled(backend["state"]),
            weight,
            str(backend["in_flight"]),
            f"{backend['requests_per_second']:.1f}",
            "-" if backend["error_share"] is None else f"{backend['error_share'] * 100:.1f} %",
            _milliseconds(backend["p50"]),
            _milliseconds(backend["p99"]),
            note=backend["reason"],
        )
    return sheet


def event(one: dict[str, Any]) -> Text:
    """An event on one line."""
    at = time_text(one["at"])
    about = "/".join(part for part in (one["pool"], one["backend"]) if part)
    reason = f": {one['reason']}" if one["reason"] else ""
    by = f" by {one['who']}" if one["who"] else ""
    return Text(f"{at}  {one['kind']:<9} {about}  {one['what']}{reason}{by}")


def findings(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Findings of `doctor`, each followed by its advice."""
    lines = []
    for finding in found:
        lines.append(Text.assemble(_SIGNS[finding["level"]], f" {finding['check']}: {finding['finding']}"))
        if finding["advice"]:
            lines.append(Text.assemble("  ", (f"→ {finding['advice']}", "dim")))
    return Group(*lines)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def explanation_lines(query: RequestQuery, explanation: Mapping[str, Any]) -> Iterator[str]:
    """The document of an explanation, one fact per line."""
    yield f"{query.method} {query.target}, Host {query.host or '(none)'}, from {query.client}"
    yield f"route       {explanation['route'] or '(none)'}"
    if explanation.get("match"):
        yield f"match       {explanation['match']}"
    for index, check in enumerate(explanation.get("checks", ())):
        before = f" before the pool {check['pool']}" if check["pool"] else ""
        outcome = "" if check["outcome"] == "depends" else f"{check['outcome']}, "
        yield f"{'' if index else 'checks':<12}{check['check'].replace('_', ' ')}{before}: {outcome}{check['why']}"
    if explanation["answer"]:
        yield f"answer      {explanation['answer']}; no backend is used"
        return
    if explanation["target"] != query.target:
        yield f"target      {explanation['target']}"
    for view in explanation["pools"]:
        yield from _pool_lines(view, explanation["split_key"])


def _pool_lines(view: Mapping[str, Any], split_key: str | None) -> Iterator[str]:
    by = "" if split_key is None else f", by the key {split_key!r}"
    yield f"pool        {view['pool']}" + (f", for {view['share']:g} % by chance" if view["share"] < 100 else by)
    yield f"strategy    {view['strategy']}" + ("" if view["key"] is None else f", by the key {view['key']!r}")
    if view["home"]:
        yield f"session     at {view['home']}"
    if view["overlooked"]:
        yield f"overlooked  {view['overlooked']}: no other backend could serve"
    for index, candidate in enumerate(view["candidates"]):
        more = f", warm to {candidate['warm_percent']} %" if candidate["warm_percent"] < 100 else ""
        more += ", backup" if candidate["backup"] else ""
        name = "" if candidate["url"].endswith(f"/{candidate['backend']}") else f" {candidate['url']}"
        yield f"{'' if index else 'candidates':<12}{candidate['backend']}{name}, weight {candidate['weight']}{more}"
    if not view["candidates"]:
        yield "candidates  (none): 503"
    for index, excluded in enumerate(view["left_out"]):
        yield f"{'' if index else 'left out':<12}{excluded['backend']}: {excluded['why']}"
    for index, plan in enumerate(view["plans"] if view["candidates"] else ()):
        yield f"{'then' if index else 'order':<12}{', '.join(plan)}"
