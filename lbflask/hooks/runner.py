"""Runs user hooks in isolation: a hook that fails or stalls is logged, counted and skipped, and fails no request.

A request waits for the hooks `request`, `choice` and `response_head`, within their time budget: each call runs in a
thread (a greenlet on gevent's workers), which is abandoned when the budget is exceeded. A hook that is late several
times in a row is disabled for a cool-down period. The hooks `response` and `health` are called later, each in a thread
of its own, from a bounded queue. docs/hooks.md explains the limits of this isolation on gevent.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from itertools import chain
from typing import Any

from lbflask.background import BackgroundTask
from lbflask.core.hook_api import Change, HealthChange, HookRequest, HookResponse, Refusal
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.recorder import Sample

GROUP = "lbflask.hooks"
POINTS = ("request", "choice", "response_head", "response", "health")
#: Late calls in a row before a hook is disabled, and the seconds for which it is.
LATE_IN_A_ROW = 3
COOL_DOWN = 10.0
#: Calls of one hook that may run at once; beyond, it is skipped until one of them ends.
MAX_HANGING = 8
#: Capacity of the queue of a hook that is called later.
MAX_PENDING = 10_000
#: Seconds between log lines about one hook.
LOG_INTERVAL = 10.0
#: Seconds for queued calls when the worker stops.
STOP_TIMEOUT = 1.0

log = logging.getLogger("lbflask")


class BadHook(Exception):
    """A configured hook cannot be loaded."""


class _Hook:
    """A user function and the outcomes of its calls."""

    def __init__(self, name: str, point: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.point = point
        self.function = function
        self.outcomes: Counter[str] = Counter()
        self._logged = float("-inf")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.point} {dict(self.outcomes)}>"

    def failed(self, outcome: str, why: str, *, traceback: bool = False) -> None:
        """Count an outcome other than success, and log it at most every `LOG_INTERVAL` seconds."""
        self.outcomes[outcome] += 1
        now = time.monotonic()
        if now - self._logged >= LOG_INTERVAL:
            self._logged = now
            log.warning("hook %s, %s: %s, and is skipped", self.name, self.point, why, exc_info=traceback)


class BlockingHook(_Hook):
    """A hook that a request waits for, at most `budget` seconds."""

    def __init__(self, name: str, point: str, function: Callable[..., Any], budget: float) -> None:
        super().__init__(name, point, function)
        self._budget = budget
        self._late = 0
        self._skipped_until = float("-inf")
        self._hanging = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """The result of the hook; None if it fails, is late or is skipped."""
        began = time.monotonic()
        if began < self._skipped_until or self._hanging >= MAX_HANGING:
            self.outcomes["skipped"] += 1
            return None
        results: list[Any] = []
        done = threading.Event()
        with self._lock:
            self._hanging += 1
        thread = threading.Thread(target=self._run, args=(arguments, results, done), name="hook", daemon=True)
        thread.start()
        if not done.wait(self._budget) or time.monotonic() - began > self._budget:
            self._was_late(began)
            return None
        self._late = 0
        if not results:
            return None
        self.outcomes["ok"] += 1
        return results[0]

    def _run(self, arguments: Sequence[Any], results: list[Any], done: threading.Event) -> None:
        try:
            results.append(self.function(*arguments))
        except BaseException:  # noqa: BLE001 - no error may reach the request or the worker
            self.failed("failed", "raised", traceback=True)
        finally:
            with self._lock:
                self._hanging -= 1
            done.set()

    def _was_late(self, began: float) -> None:
        self._late += 1
        why = f"took longer than {self._budget:g} s"
        if self._late >= LATE_IN_A_ROW:
            self._late = 0
            self._skipped_until = time.monotonic() + COOL_DOWN
            why += f", {LATE_IN_A_ROW} times in a row, is disabled for {COOL_DOWN:g} s"
        self.failed("late", f"{why} (it is {time.monotonic() - began:.3f} s now)")


class QueuedHook(_Hook):
    """A hook that is called in the background."""

    def __init__(self, name: str, point: str, function: Callable[..., Any]) -> None:
        super().__init__(name, point, function)
        self._pending: deque[Any] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._task = BackgroundTask(f"hook {name}", self._run)

    def __call__(self, item: Any) -> None:
        """Queue a call; never blocks."""
        if len(self._pending) >= MAX_PENDING:
            self.failed("skipped", "can't keep up")
            return
        self._pending.append(item)
        if self._task.pid != os.getpid():
            self._task.start()
        self._wake.set()

    def stop(self) -> None:
        """Make the queued calls, for a second at most, and stop."""
        self._stopping = True
        self._wake.set()
        self._task.stop(within=STOP_TIMEOUT)

    def _run(self) -> None:
        while self._pending or not self._stopping:
            self._wake.wait()
            self._wake.clear()
            while self._pending:
                try:
                    self.function(self._pending.popleft())
                    self.outcomes["ok"] += 1
                except BaseException:  # noqa: BLE001
                    self.failed("failed", "raised", traceback=True)
                time.sleep(0)  # a hook that never yields must not delay requests


class Hooks:
    """The configured hooks, by point; an event sink. Raises BadHook if a hook cannot be loaded."""

    def __init__(self, names: Sequence[str], budget: float) -> None:
        self._blocking: dict[str, list[BlockingHook]] = {"request": [], "choice": [], "response_head": []}
        self._queued: dict[str, list[QueuedHook]] = {"response": [], "health": []}
        for name, target in [hook for setting in names for hook in _loaded(setting)]:
            functions = {point: getattr(target, point) for point in POINTS if hasattr(target, point)}
            if not functions:
                raise BadHook(f"{name} has none of {', '.join(POINTS)}")
            for point, function in functions.items():
                if point in self._blocking:
                    self._blocking[point].append(BlockingHook(name, point, function, budget))
                else:
                    self._queued[point].append(QueuedHook(name, point, function))

    def __repr__(self) -> str:
        return f"<Hooks {list(self._all())}>"

    @property
    def has_blocking(self) -> bool:
        """Whether requests wait for any hook."""
        return any(self._blocking.values())

    @property
    def has_choice(self) -> bool:
        """Whether there is a hook `choice`."""
        return bool(self._blocking["choice"])

    @property
    def has_response_head(self) -> bool:
        """Whether there is a hook `response_head`."""
        return bool(self._blocking["response_head"])

    @property
    def has_responses(self) -> bool:
        """Whether there is a hook `response`, so that events are to be consumed."""
        return bool(self._queued["response"])

    def request(self, request: HookRequest) -> Iterator[Change | Refusal]:
        """The results of the hooks `request`, one after another."""
        for hook in self._blocking["request"]:
            result = hook(request)
            if isinstance(result, (Change, Refusal)):
                yield result
            elif result is not None:
                hook.failed("failed", f"returned {type(result).__name__}, neither Change nor Refusal")

    def choice(self, request: HookRequest, backends: Sequence[str]) -> Sequence[str]:
        """The backends in the order that the hooks `choice` return, restricted to the given ones."""
        for hook in self._blocking["choice"]:
            result = hook(request, backends)
            if result is None:
                continue
            try:
                wanted = tuple(dict.fromkeys(backend for backend in result if backend in backends))
            except TypeError:
                wanted = ()
            if wanted:
                backends = wanted
            else:
                hook.failed("failed", "named none of the backends")
        return backends

    def response_head(self, request: HookRequest, response: HookResponse) -> HookResponse:
        """The response as the hooks `response_head` leave it, each with the fields that the one before left."""
        for hook in self._blocking["response_head"]:
            result = hook(request, response)
            if isinstance(result, Change):
                response = replace(response, fields=tuple(result.applied_to(list(response.fields))))
            elif result is not None:
                hook.failed("failed", f"returned {type(result).__name__}, which is no Change")
        return response

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink: each event is passed to the hooks `response`."""
        for event, _ in batch:
            for hook in self._queued["response"]:
                hook(event)

    def dropped(self, count: int) -> None:
        """See EventSink."""

    def health(self, change: HealthChange) -> None:
        """Pass a change of health to the hooks `health`."""
        for hook in self._queued["health"]:
            hook(change)

    def stop(self) -> None:
        """Make the queued calls, and stop."""
        for hook in chain(*self._queued.values()):
            hook.stop()

    def samples(self) -> Iterator[Sample]:
        """The number of calls so far, by hook, point and outcome."""
        for hook in self._all():
            for outcome, count in list(hook.outcomes.items()):
                yield definitions.HOOK_CALLS, (hook.name, hook.point, outcome), count

    def _all(self) -> Iterator[_Hook]:
        return chain(*self._blocking.values(), *self._queued.values())


def _loaded(setting: str) -> Iterator[tuple[str, Any]]:
    """The hooks that a setting names: `module:object`, an entry point, or `*` for all entry points."""
    module, colon, path = setting.partition(":")
    try:
        if colon:
            target: Any = importlib.import_module(module)
            for part in path.split("."):
                target = getattr(target, part)
            yield setting, _instance_of(target)
            return
        entries = entry_points(group=GROUP) if setting == "*" else entry_points(group=GROUP, name=setting)
        for entry in entries:
            yield entry.name, _instance_of(entry.load())
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())  # one line
        raise BadHook(f"{setting}: {type(error).__name__}: {reason}") from error
    if not entries and setting != "*":
        raise BadHook(f"{setting}: neither module:object nor an entry point of the group {GROUP}")


def _instance_of(target: Any) -> Any:
    return target() if isinstance(target, type) else target
