"""The telemetry of a worker: event sinks, metrics, hooks, tracing, and their life cycle."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import lbflask
from lbflask.config.load import ConfigError
from lbflask.config.render import version
from lbflask.config.schema import Config
from lbflask.core.answers import AnswerKey
from lbflask.core.log_fields import needs_facts
from lbflask.core.reserves import LostLines, Use
from lbflask.fleet.recent_answers import RecentAnswers
from lbflask.hooks.runner import Hooks
from lbflask.telemetry.access_log import AccessLog, unwritable
from lbflask.telemetry.debug import SWITCH
from lbflask.telemetry.event_queue import EventQueue, EventSink
from lbflask.telemetry.events import Listener
from lbflask.telemetry.log_formats import LoggedFields, format_of
from lbflask.telemetry.metrics import definitions, exposition
from lbflask.telemetry.metrics.recorder import MetricsRecorder, Sample
from lbflask.telemetry.tracing import TracingSink
from lbflask.wiring.adapters import hooks_for, start_tracing, tracing_for
from lbflask.wiring.control import identity

#: The settings of the access log.
_OF_ACCESS_LOG = ("access_log", "access_log_format", "access_log_fields", "access_log_filter")

log = logging.getLogger("lbflask")


class Telemetry:
    """The configured event sinks of a worker; those that are not configured are None.

    `watch` adds sources of gauges before `start`. Metrics are counted in `directory`, which all workers of a gunicorn
    share; without it, in a private one. `answers` counts for the fleet what clients get.
    """

    def __init__(self, config: Config, directory: Path | None, answers: RecentAnswers) -> None:
        self._config = config
        self._answers = answers
        self._access_log = _access_log(config)
        self._sources: list[Callable[[], Iterable[Sample]]] = []
        self._recorder = MetricsRecorder(self._samples) if config.metrics and config.admin_bind else None
        self._hooks = hooks_for(config)
        self.tracing = tracing_for(config)
        self._event_queue = EventQueue(self._sinks())
        self._directory = directory
        self._private: Path | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The recipient of request events."""
        return (self._answers.note,) if self._only_counts else (self._event_queue,)

    @property
    def note_answer(self) -> Callable[[tuple[int | AnswerKey, str]], None] | None:
        """As of SharedServices; None if each answer needs an event."""
        return self._answers.note_answer if self._only_counts else None

    @property
    def _only_counts(self) -> bool:
        return not set(self._event_queue.sinks) - {SWITCH, self._answers}

    @property
    def hooks(self) -> Hooks | None:
        """The hooks that are called while a request is served; None without any."""
        return self._hooks if self._hooks is not None and self._hooks.has_blocking else None

    @property
    def trip(self) -> Callable[[str, float, bool], None] | None:
        """Called after each command of the store; None without metrics."""
        return None if self._recorder is None else self._recorder.trip

    @property
    def counts(self) -> bool:
        """Whether metrics are configured."""
        return self._recorder is not None

    @property
    def logs_facts(self) -> bool:
        """Whether the access log has header fields or other facts of requests, which no event has otherwise."""
        config = self._config
        has_any = bool(config.access_log_fields.request) or needs_facts(config.access_log_format, os.environ)
        return bool(config.access_log) and has_any

    def lost_lines(self, now: float) -> LostLines | None:
        """The lines of the access log that were lost in the last minute. `now` is of a steady clock, in seconds."""
        return None if self._access_log is None else self._access_log.recent_loss(now)

    def places(self) -> Iterator[tuple[Use, Path]]:
        """The access log, and the directory of the metrics."""
        if self._access_log is not None and self._access_log.path != "-":
            yield Use.LOG, Path(self._access_log.path)
        if self._directory is not None:
            yield Use.SHARED, self._directory

    def watch(self, source: Callable[[], Iterable[Sample]]) -> None:
        """Add a source of gauges. It is read at intervals, and before each scrape."""
        self._sources.append(source)

    def page(self, samples: Iterable[Sample]) -> bytes:
        """The page of a scrape. Raises Busy, OSError."""
        if self._recorder is None or self._directory is None:
            raise OSError("this worker has not begun to count")
        self._event_queue.flush()
        self._recorder.sample()
        build = definitions.BUILD, (lbflask.__version__,), 1
        config = definitions.CONFIG, (version(self._config),), 1
        return exposition.render(exposition.collect(self._directory), [build, config, *samples])

    def start(self) -> None:
        """Start all sinks. Raises ConfigError if the access log cannot be opened, or tracing cannot start."""
        try:
            self.reopen_logs()
        except OSError as error:
            raise ConfigError(unwritable(self._config.access_log, error)) from None
        SWITCH.start(self._directory)
        if self._recorder is not None:
            self._start_recorder(self._recorder)
        if self.tracing is not None:
            start_tracing(self.tracing)
        self._event_queue.start()

    def apply_config(self, config: Config) -> None:
        """Apply another configuration, except whether there are metrics, while requests are served.

        Raises OSError if the access log cannot be opened, ConfigError for unusable hooks or tracing, and then changes
        nothing. A request in flight is reported, at its end, to the sinks in effect then.
        """
        before = self._config
        hooks_stay = (config.hooks, config.hook_budget) == (before.hooks, before.hook_budget)
        log_stays = all(getattr(config, key) == getattr(before, key) for key in _OF_ACCESS_LOG)
        hooks = self._hooks if hooks_stay else hooks_for(config)
        tracing = self.tracing if config.tracing == before.tracing else tracing_for(config)
        access_log = self._access_log if log_stays else _access_log(config)
        if access_log is not None:
            access_log.open()  # anew, if it is the same
        if tracing is not None and tracing is not self.tracing:
            start_tracing(tracing)
        old, new = (self._hooks, self.tracing, self._access_log), (hooks, tracing, access_log)
        self._config, (self._hooks, self.tracing, self._access_log) = config, new
        if self._sinks() != self._event_queue.sinks:
            self._event_queue.set_sinks(self._sinks())
        _stop(*(sink for sink in old if sink not in new))

    def reopen_logs(self) -> None:
        """Reopen the access log after its rotation. Raises OSError, and keeps the open file."""
        if self._access_log is not None:
            self._access_log.open()

    def stop(self) -> None:
        """Deliver pending events, and stop all sinks."""
        self._event_queue.stop()
        _stop(self._hooks, self.tracing, self._access_log)
        if self._recorder is not None:
            self._recorder.sample()  # also what was lost at the end
            self._recorder.stop()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _start_recorder(self, recorder: MetricsRecorder) -> None:
        try:
            if self._directory is None:
                self._directory = self._private = Path(tempfile.mkdtemp(prefix="lbflask-metrics-"))
            recorder.start(self._directory)
        except OSError as error:
            log.warning("requests are not counted: %s", error)

    def _sinks(self) -> tuple[EventSink, ...]:
        response_hooks = self._hooks if self._hooks is not None and self._hooks.has_responses else None
        sinks = (SWITCH, self._answers, self._access_log, self._recorder, response_hooks, self.tracing)
        return tuple(sink for sink in sinks if sink is not None)

    def _samples(self) -> Iterator[Sample]:
        for source in self._sources:
            yield from source()
        if self._access_log is not None:
            yield definitions.LOG_LINES_DROPPED, (), self._access_log.lost
        if self._hooks is not None:
            yield from self._hooks.samples()


def _stop(*sinks: Hooks | TracingSink | AccessLog | MetricsRecorder | None) -> None:
    for sink in sinks:
        if sink is not None:
            sink.stop()


def _access_log(config: Config) -> AccessLog | None:
    if not config.access_log:
        return None
    fields = LoggedFields(config.access_log_fields.request, config.access_log_fields.response)
    form = format_of(config.access_log_format, identity(config).instance, fields, os.environ)
    return AccessLog(config.access_log, form, config.access_log_filter.to_model())
