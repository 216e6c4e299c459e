"""Other people's code, kept apart: a hook that fails or stalls is logged, counted and skipped, and fails no request.

Hooks `request` and `choice` are waited for, but no longer than their budget: each call has a thread (a greenlet on
gevent's workers), which is left to itself when the budget is over. One that is late again and again rests for a while.
Hooks `response` and `health` are told later, each by a thread of its own, from a queue that drops what is too much.
docs/hooks.md says what can be promised on gevent, and what can't.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any

from lbflask.background import BackgroundTask
from lbflask.core.hook_api import Change, HealthChange, HookRequest, Refusal
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.events import RequestEvent
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.recorder import Sample

GROUP = "lbflask.hooks"
POINTS = ("request", "choice", "response", "health")
#: Calls in a row that may be late before the hook rests, and for how many seconds it does.
LATE_IN_A_ROW = 3
COOL_DOWN = 10.0
#: Calls of one hook that may hang at once: beyond, it is skipped until one of them ends.
MAX_HANGING = 8
#: What waits for a hook that is told later.
MAX_PENDING = 10_000
#: Seconds between two lines in the log about one hook.
LOG_INTERVAL = 10.0
#: Seconds that hooks which are told later get at the end.
STOP_TIMEOUT = 1.0

log = logging.getLogger("lbflask")


class BadHook(Exception):
    """A hook that is configured can't be loaded."""


class _Hook:
    """A function of somebody else's, and what came of its calls."""

    def __init__(self, name: str, point: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.point = point
        self.function = function
        self.outcomes: Counter[str] = Counter()
        self._logged = float("-inf")

    def failed(self, outcome: str, why: str, *, traceback: bool = False) -> None:
        """Count what went wrong, and log it now and then."""
        self.outcomes[outcome] += 1
        now = time.monotonic()
        if now - self._logged >= LOG_INTERVAL:
            self._logged = now
            log.warning("hook %s, %s: %s, and is skipped", self.name, self.point, why, exc_info=traceback)


class BlockingHook(_Hook):
    """A hook that a request waits for, `budget` seconds at most."""

    def __init__(self, name: str, point: str, function: Callable[..., Any], budget: float) -> None:
        super().__init__(name, point, function)
        self._budget = budget
        self._late = 0
        self._skipped_until = float("-inf")
        self._hanging = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """What the hook answers in time, else None."""
        began = time.monotonic()
        if began < self._skipped_until or self._hanging >= MAX_HANGING:
            self.outcomes["skipped"] += 1
            return None
        answers: list[Any] = []
        done = threading.Event()
        with self._lock:
            self._hanging += 1
        thread = threading.Thread(target=self._run, args=(arguments, answers, done), name="hook", daemon=True)
        thread.start()
        if not done.wait(self._budget) or time.monotonic() - began > self._budget:
            self._was_late(began)
            return None
        self._late = 0
        if not answers:
            return None
        self.outcomes["ok"] += 1
        return answers[0]

    def _run(self, arguments: Sequence[Any], answers: list[Any], done: threading.Event) -> None:
        try:
            answers.append(self.function(*arguments))
        except BaseException:  # noqa: BLE001 - whatever it is, it must not reach the request, nor the worker
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
            why += f", {LATE_IN_A_ROW} times in a row, rests for {COOL_DOWN:g} s"
        self.failed("late", f"{why} (it is {time.monotonic() - began:.3f} s now)")


class QueuedHook(_Hook):
    """A hook that is told in the background."""

    def __init__(self, name: str, point: str, function: Callable[..., Any]) -> None:
        super().__init__(name, point, function)
        self._pending: deque[Any] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._task = BackgroundTask(f"hook {name}", self._run)

    def __call__(self, item: Any) -> None:
        """Tell it soon; never waits."""
        if len(self._pending) >= MAX_PENDING:
            self.failed("skipped", "can't keep up")
            return
        self._pending.append(item)
        if self._task.pid != os.getpid():
            self._task.start()
        self._wake.set()

    def stop(self) -> None:
        """Tell it what waits, for a second at most."""
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
                time.sleep(0)  # a hook that never waits must not keep requests waiting


class Hooks:
    """All that are configured, at the points where they are called. Raises BadHook when one can't be loaded."""

    def __init__(self, names: Sequence[str], budget: float) -> None:
        found = [(name, target) for given in names for name, target in _loaded(given)]
        functions: dict[str, list[tuple[str, Callable[..., Any]]]] = {point: [] for point in POINTS}
        for name, target in found:
            if not any(hasattr(target, point) for point in POINTS):
                raise BadHook(f"{name} has none of {', '.join(POINTS)}")
            for point in POINTS:
                if hasattr(target, point):
                    functions[point].append((name, getattr(target, point)))
        self._requests = tuple(
            BlockingHook(name, "request", function, budget) for name, function in functions["request"]
        )
        self._choices = tuple(BlockingHook(name, "choice", function, budget) for name, function in functions["choice"])
        self._responses = tuple(QueuedHook(name, "response", function) for name, function in functions["response"])
        self._healths = tuple(QueuedHook(name, "health", function) for name, function in functions["health"])

    @property
    def has_blocking(self) -> bool:
        """Whether requests have to stop by."""
        return bool(self._requests or self._choices)

    @property
    def has_choice(self) -> bool:
        """Whether any has a say in the choice."""
        return bool(self._choices)

    @property
    def has_responses(self) -> bool:
        """Whether it is a reader of the journal."""
        return bool(self._responses)

    def request(self, asked: HookRequest) -> Iterator[Change | Refusal]:
        """What hooks want done with the request, one after another."""
        for hook in self._requests:
            answer = hook(asked)
            if isinstance(answer, (Change, Refusal)):
                yield answer
            elif answer is not None:
                hook.failed("failed", f"answered {type(answer).__name__}, neither Change nor Refusal")

    def choice(self, asked: HookRequest, backends: Sequence[str]) -> Sequence[str]:
        """The backends in the order that hooks want; only of those that were there."""
        for hook in self._choices:
            answer = hook(asked, backends)
            if answer is None:
                continue
            try:
                wanted = tuple(dict.fromkeys(backend for backend in answer if backend in backends))
            except TypeError:
                wanted = ()
            if wanted:
                backends = wanted
            else:
                hook.failed("failed", "named none of the backends")
        return backends

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See Reader: each event is a response."""
        for event, _ in batch:
            self._enqueue(self._responses, event)

    def dropped(self, count: int) -> None:
        """See Reader."""

    def health(self, change: HealthChange) -> None:
        """Tell of a change of health."""
        self._enqueue(self._healths, change)

    def stop(self) -> None:
        """Tell what waits."""
        for hook in (*self._responses, *self._healths):
            hook.stop()

    def samples(self) -> Iterator[Sample]:
        """What came of the calls so far."""
        for hook in (*self._requests, *self._choices, *self._responses, *self._healths):
            for outcome, count in list(hook.outcomes.items()):
                yield definitions.HOOK_CALLS, (hook.name, hook.point, outcome), count

    @staticmethod
    def _enqueue(hooks: Sequence[QueuedHook], item: RequestEvent | HealthChange) -> None:
        for hook in hooks:
            hook(item)


def _loaded(given: str) -> Iterator[tuple[str, Any]]:
    """What `module:object`, the name of an entry point, or `*` for all of them means."""
    module, colon, path = given.partition(":")
    try:
        if colon:
            target: Any = importlib.import_module(module)
            for part in path.split("."):
                target = getattr(target, part)
            yield given, _made(target)
            return
        found = entry_points(group=GROUP) if given == "*" else entry_points(group=GROUP, name=given)
        for entry in found:
            yield entry.name, _made(entry.load())
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())  # one line
        raise BadHook(f"{given}: {type(error).__name__}: {reason}") from error
    if not found and given != "*":
        raise BadHook(f"{given}: neither module:object nor an entry point of the group {GROUP}")


def _made(target: Any) -> Any:
    return target() if isinstance(target, type) else target
