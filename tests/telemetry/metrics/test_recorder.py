"""What is counted of events, and what a scrape says of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.servers import require
from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Outpaced, Stage
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from lbflask.telemetry.metrics import definitions, exposition, mmap_values, recorder
from lbflask.telemetry.metrics.definitions import ALL
from lbflask.telemetry.metrics.exposition import Busy, collect, render
from lbflask.telemetry.metrics.recorder import MetricsRecorder, Sample
from tests.telemetry.events import REFUSED, SERVED, event

BROKEN = AttemptEvent(backend="web-1", seconds=0.002, fault=Fault(Blame.BACKEND, Stage.BODY, 502, "broke off"))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[MetricsRecorder]:
    found = MetricsRecorder()
    found.start(tmp_path)
    yield found
    found.stop()


def told(worker: MetricsRecorder, *events: RequestEvent) -> None:
    worker.consume([(one, 0.0) for one in events])


def scrape(directory: Path, samples: tuple[Sample, ...] = ()) -> dict[str, float]:
    """Every line of the answer: name and labels, and the number."""
    text = render(collect(directory), samples).decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def of(found: dict[str, float], name: str) -> dict[str, float]:
    return {key.removeprefix("lbflask_"): value for key, value in found.items() if key.startswith(f"lbflask_{name}")}


def test_requests_are_counted_by_pool_backend_method_and_class_of_status(
    worker: MetricsRecorder, tmp_path: Path
) -> None:
    told(worker, event(), event(status=204), event(status=404), event(method="BREW"), event(method="get", pool="api"))
    assert of(scrape(tmp_path), "requests_total") == {
        'requests_total{backend="web-1",code="2xx",method="GET",pool="default"}': 2,
        'requests_total{backend="web-1",code="4xx",method="GET",pool="default"}': 1,
        'requests_total{backend="web-1",code="2xx",method="other",pool="default"}': 1,
        'requests_total{backend="web-1",code="2xx",method="other",pool="api"}': 1,
    }


def test_each_answer_is_counted_once_by_status_cause_and_route(worker: MetricsRecorder, tmp_path: Path) -> None:
    limited = event(status=429, attempts=(), cause=AnswerCause.RATE_LIMIT, limit="each", route="shop")
    full = event(status=503, attempts=(), cause=AnswerCause.QUEUE_FULL, pool="web")
    late = event(status=503, attempts=(), cause=AnswerCause.QUEUE_TIMEOUT, pool="web")
    left = event(cause=AnswerCause.CLIENT_LEFT)
    broken = event(attempts=[BROKEN], cause=AnswerCause.BACKEND_FAILED)
    failed = event(status=502, attempts=[REFUSED], cause=AnswerCause.CONNECTION_FAILED)
    for _ in range(2):  # the second time by the short cut
        told(worker, event(), event(route="shop"), event(status=500), left, limited, full, late, broken, failed)
    found = scrape(tmp_path)
    assert of(found, "responses_total") == {
        'responses_total{cause="backend",route="",status="2xx"}': 2,
        'responses_total{cause="backend",route="shop",status="2xx"}': 2,
        'responses_total{cause="backend",route="",status="5xx"}': 2,
        'responses_total{cause="client_left",route="",status="2xx"}': 2,
        'responses_total{cause="rate_limit",route="shop",status="429"}': 2,
        'responses_total{cause="queue_full",route="",status="503"}': 2,
        'responses_total{cause="queue_timeout",route="",status="503"}': 2,
        'responses_total{cause="backend_failed",route="",status="2xx"}': 2,
        'responses_total{cause="connection_failed",route="",status="502"}': 2,
    }
    assert of(found, "rate_limited_total") == {'rate_limited_total{limit="each"}': 2}
    assert of(found, "queue_refused_total") == {'queue_refused_total{pool="web"}': 4}
    assert sum(of(found, "responses_total").values()) == sum(of(found, "requests_total").values()) == 18


def test_attempts_retries_and_faults_are_counted_by_blame_and_stage(worker: MetricsRecorder, tmp_path: Path) -> None:
    told(worker, event(attempts=[REFUSED, SERVED]), event(status=502, attempts=[REFUSED]), event(attempts=[BROKEN]))
    found = scrape(tmp_path)
    assert of(found, "attempts_total") == {
        'attempts_total{backend="web-1",outcome="answered",pool="default"}': 2,
        'attempts_total{backend="web-2",outcome="failed",pool="default"}': 2,
    }
    assert of(found, "retries_total") == {'retries_total{pool="default"}': 1}
    assert of(found, "faults_total") == {
        'faults_total{backend="web-2",blame="backend",pool="default",stage="connect"}': 2,
        'faults_total{backend="web-1",blame="backend",pool="default",stage="body"}': 1,
    }
    assert found['lbflask_requests_total{backend="",code="5xx",method="GET",pool="default"}'] == 1


def test_an_attempt_that_was_outpaced_is_no_fault(worker: MetricsRecorder, tmp_path: Path) -> None:
    outpaced = AttemptEvent("web-2", 0.1, Outpaced("web-1"))
    told(worker, event(attempts=[outpaced, SERVED]), event(attempts=[SERVED, outpaced]))
    found = scrape(tmp_path)
    assert of(found, "attempts_total") == {
        'attempts_total{backend="web-1",outcome="answered",pool="default"}': 2,
        'attempts_total{backend="web-2",outcome="outpaced",pool="default"}': 2,
    }
    assert of(found, "faults_total") == {}
    assert found['lbflask_requests_total{backend="web-1",code="2xx",method="GET",pool="default"}'] == 2


def test_a_request_that_was_refused_at_once_has_no_attempt(worker: MetricsRecorder, tmp_path: Path) -> None:
    told(worker, event(status=400, attempts=()))
    found = scrape(tmp_path)
    assert found['lbflask_requests_total{backend="",code="4xx",method="GET",pool="default"}'] == 1
    assert of(found, "attempts_total") == {}


def test_durations_fall_into_buckets_that_include_their_bound(worker: MetricsRecorder, tmp_path: Path) -> None:
    told(worker, *(event(seconds=seconds) for seconds in (0.0001, 0.001, 0.0011, 61.0)))
    found = of(scrape(tmp_path), "request_duration_seconds")
    bucket = 'request_duration_seconds_bucket{le="%s",pool="default",route=""}'
    assert [found[bucket % bound] for bound in ("0.001", "0.0025", "60.0", "+Inf")] == [2, 3, 3, 4]
    assert found['request_duration_seconds_count{pool="default",route=""}'] == 4
    assert found['request_duration_seconds_sum{pool="default",route=""}'] == pytest.approx(61.0022)


def test_durations_are_those_of_a_route_and_waits_those_of_a_pool(worker: MetricsRecorder, tmp_path: Path) -> None:
    told(worker, event(route="shop"), event(route="shop", queued=0.3), event())
    found = scrape(tmp_path)
    name = "lbflask_request_duration_seconds_count"
    assert found[f'{name}{{pool="default",route="shop"}}'] == 2
    assert found[f'{name}{{pool="default",route=""}}'] == 1
    waits = of(found, "queue_wait_seconds")
    assert waits['queue_wait_seconds_count{pool="default"}'] == 1
    assert waits['queue_wait_seconds_sum{pool="default"}'] == pytest.approx(0.3)


def test_bytes_are_counted_both_ways(worker: MetricsRecorder, tmp_path: Path) -> None:
    told(worker, event(sent=10, received=3), event(sent=5))
    found = scrape(tmp_path)
    assert (
        found['lbflask_sent_bytes_total{pool="default"}'],
        found['lbflask_received_bytes_total{pool="default"}'],
    ) == (
        15,
        3,
    )


def test_a_request_counts_the_same_however_often_its_like_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a kind that is known go a shorter way; and the file grows with nearly every other one."""
    monkeypatch.setattr(mmap_values, "_STEP", 8)
    kinds = [
        event(
            method=method,
            status=status,
            seconds=0.2,
            attempts=[AttemptEvent(backend=f"web-{number}", seconds=0.003 * number)],
        )
        for number in range(1, 60)
        for method, status in (("GET", 200), ("GET", 204), ("POST", 503), ("BREW", 200))
    ]
    kinds += [event(attempts=[REFUSED, SERVED]), event(status=502, attempts=[REFUSED]), event(status=400, attempts=())]
    kinds += [
        event(status=status, attempts=(), cause=cause, route=route, method=method, limit="each")
        for status in (200, 206, 404)
        for cause in (AnswerCause.FILE, AnswerCause.DIRECT_RESPONSE, AnswerCause.RATE_LIMIT)
        for route, method in (("files", "GET"), ("", "GET"), ("files", "HEAD"), ("files", "BREW"))
    ]
    found = []
    for name, portions in (("one", [kinds * 3]), ("each", [[kind] for kind in kinds for _ in range(3)])):
        (tmp_path / name).mkdir()
        worker = MetricsRecorder()
        worker.start(tmp_path / name)
        for portion in portions:
            told(worker, *portion)
        found.append(scrape(tmp_path / name))
        worker.stop()
    assert found[0] == pytest.approx(found[1])
    requests = of(found[0], "requests_total")
    assert requests['requests_total{backend="web-7",code="2xx",method="GET",pool="default"}'] == 6
    assert requests['requests_total{backend="web-7",code="2xx",method="other",pool="default"}'] == 3
    assert sum(requests.values()) == 3 * len(kinds)
    responses = of(found[0], "responses_total")
    assert responses['responses_total{cause="file",route="files",status="206"}'] == 9
    assert requests['requests_total{backend="",code="4xx",method="HEAD",pool="default"}'] == 9
    assert of(found[0], "rate_limited_total") == {'rate_limited_total{limit="each"}': 36}
    answered = 'attempts_total{backend="web-7",outcome="answered",pool="default"}'
    assert of(found[0], "attempts_total")[answered] == 12
    latencies = of(found[0], "upstream_duration_seconds")
    bucket = 'upstream_duration_seconds_bucket{backend="web-7",le="%s",pool="default"}'
    assert [latencies[bucket % bound] for bound in ("0.01", "0.025", "+Inf")] == [0, 12, 12]
    assert latencies['upstream_duration_seconds_sum{backend="web-7",pool="default"}'] == pytest.approx(12 * 0.021)


def test_trips_to_the_store_are_counted_with_their_duration(worker: MetricsRecorder, tmp_path: Path) -> None:
    worker.trip("incrby", 0.0002, True)
    worker.trip("incrby", 0.05, False)
    worker.consume(())
    found = scrape(tmp_path)
    assert found['lbflask_store_duration_seconds_count{command="incrby"}'] == 1
    assert found['lbflask_store_failures_total{command="incrby"}'] == 1


def test_numbers_of_all_workers_are_added_up(worker: MetricsRecorder, tmp_path: Path) -> None:
    other = MetricsRecorder(lambda: [(definitions.IN_FLIGHT, (), 2)])
    other.start(tmp_path)
    told(worker, event())
    told(other, event(), event())
    found = scrape(tmp_path)
    assert found['lbflask_requests_total{backend="web-1",code="2xx",method="GET",pool="default"}'] == 3
    assert (found["lbflask_requests_in_flight"], found["lbflask_workers"]) == (2, 2)
    other.stop()


def test_the_longest_wait_of_all_workers_is_the_largest_of_theirs(tmp_path: Path) -> None:
    workers = [
        MetricsRecorder(lambda age=age: [(definitions.OLDEST_WAIT, ("web", "one"), age)]) for age in (2.5, 31.0, 4.0)
    ]
    for one in workers:
        one.start(tmp_path)
        one.sample()
    assert list(of(scrape(tmp_path), "backend_oldest_wait_seconds").values()) == [31.0]
    for one in workers:
        one.stop()


def test_a_worker_that_has_ended_leaves_its_counts_and_no_ghost(worker: MetricsRecorder, tmp_path: Path) -> None:
    for round_ in range(1, 6):
        ended = MetricsRecorder(lambda: [(definitions.IN_FLIGHT, (), 7)])
        ended.start(tmp_path)
        told(ended, event())
        ended.stop()
        for _ in range(2):
            found = scrape(tmp_path)
            assert found['lbflask_requests_total{backend="web-1",code="2xx",method="GET",pool="default"}'] == round_
            assert found['lbflask_request_duration_seconds_count{pool="default",route=""}'] == round_
            assert "lbflask_requests_in_flight" not in found
            assert found["lbflask_workers"] == 1
    assert len(list(tmp_path.glob("*.cells"))) == 1


def test_who_is_killed_while_folding_counts_nobody_twice(
    worker: MetricsRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = MetricsRecorder()
    ended.start(tmp_path)
    told(ended, event())
    ended.stop()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        scrape(tmp_path)
    assert len(list(tmp_path.glob("*.cells"))) == 2
    assert scrape(tmp_path)['lbflask_request_duration_seconds_count{pool="default",route=""}'] == 1
    assert len(list(tmp_path.glob("*.cells"))) == 1


def test_a_scrape_gives_up_on_another_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "LOCK_TIMEOUT", 0.0)
    with mmap_values.locked(tmp_path / "lock"), pytest.raises(Busy):
        collect(tmp_path)


def test_too_many_series_are_dropped_and_counted(
    worker: MetricsRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_SERIES", 3)
    monkeypatch.setattr(mmap_values, "_STEP", 8)  # so that the number of those that are dropped does not fit any more
    worker.stop()
    worker.start(tmp_path)
    for number in range(20):
        worker.add(definitions.RETRIES, (f"pool-{number}",), 1)
    worker.add(definitions.RETRIES, ("pool-0",), 1)
    found = scrape(tmp_path)
    assert found['lbflask_retries_total{pool="pool-0"}'] == 2
    assert len(of(found, "retries_total")) == 3
    assert found["lbflask_series_dropped_total"] == 17


def test_events_that_were_dropped_are_counted(worker: MetricsRecorder, tmp_path: Path) -> None:
    worker.dropped(3)
    assert scrape(tmp_path)["lbflask_events_dropped_total"] == 3


def test_many_series_are_written_in_portions_under_one_heading(
    worker: MetricsRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "BATCH", 2)
    for number in range(5):
        worker.add(definitions.RETRIES, (f"pool-{number}",), 1)
    text = render(collect(tmp_path), ()).decode()
    assert text.count("# HELP lbflask_retries_total") == 1
    assert text.count("lbflask_retries_total{") == 5


def everything(worker: MetricsRecorder) -> tuple[Sample, ...]:
    """A series of each metric, with labels that need escaping."""
    for metric in ALL:
        worker.add(metric, tuple(f'{label}"\\\n' for label in metric.labels), 1)
    return ((definitions.BUILD, ("1",), 1.0),)


def test_the_answer_is_what_prometheus_reads(worker: MetricsRecorder, tmp_path: Path) -> None:
    everything(worker)
    families = list(text_string_to_metric_families(render(collect(tmp_path), ()).decode()))
    assert [family.name for family in families] == [metric.full_name for metric in ALL]
    assert [family.type for family in families] == [metric.kind for metric in ALL]


def test_promtool_finds_nothing_to_complain_of(worker: MetricsRecorder, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    require(promtool, "promtool")
    everything(worker)
    command, said = [str(promtool), "check", "metrics"], render(collect(tmp_path), ())
    done = subprocess.run(command, input=said, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
