"""Checks of the running compose stack, for deploy/test-images. The arguments are the command that kills backend1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote

from check_parts import get, wait

HERE = Path(__file__).parent
PUBLIC = [int(os.environ["BALANCER1_PORT"]), int(os.environ["BALANCER2_PORT"])]
ADMIN = [int(os.environ["ADMIN1_PORT"]), int(os.environ["ADMIN2_PORT"])]
PROMETHEUS = int(os.environ["PROMETHEUS_PORT"])
OPERATOR = (HERE / "secrets" / "operator").read_text().strip()
#: Seconds and requests of the load.
LOAD, REQUESTS = 8.0, 2000


def query(expression: str) -> list[float]:
    """The values of a query to Prometheus. Raises OSError if it rejects the query."""
    answer = json.loads(get(PROMETHEUS, f"/api/v1/query?query={quote(expression)}"))
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def is_ready(admin: int) -> bool:
    """Whether an instance serves with all of the stack: store, checker, backends."""
    health = json.loads(get(admin, "/health", OPERATOR))
    states = health["pools"]["default"]["states"].values()
    return health["status"] == "ok" and [state["health"] for state in states] == ["up"] * 3


def check_turns() -> None:
    """Three backends answer in turn, whichever balancer is asked."""
    answers = []
    for number in range(12):
        answers.append(get(PUBLIC[number % 2]))
        time.sleep(0.1)  # workers take tickets ahead of a higher rate
    assert len(set(answers)) == 3, answers
    assert answers == answers[:3] * 4, answers
    print("ok: three ports answer twelve requests in turn, over two balancers")


def check_loss(kill: list[str]) -> None:
    """A backend that is killed under load loses no request."""
    failures: list[str] = []
    sent = [0] * 8
    ends = time.monotonic() + LOAD

    def load(number: int) -> None:
        while time.monotonic() < ends and sent[number] < REQUESTS // len(sent):
            try:
                get(PUBLIC[number % 2])
            except (URLError, OSError) as error:
                failures.append(str(error))
            sent[number] += 1
            time.sleep(LOAD * len(sent) / REQUESTS)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(sent))]
    for thread in threads:
        thread.start()
    time.sleep(LOAD / 4)
    subprocess.run(kill, check=True, stdout=subprocess.DEVNULL)
    for thread in threads:
        thread.join()
    assert not failures, failures[:5]
    assert "backend 8081" not in "".join(get(port) for port in PUBLIC * 6)
    print(f"ok: a backend was killed, and none of {sum(sent)} requests failed")


def check_panels() -> None:
    """Prometheus accepts the query of each panel of the dashboard for Grafana."""
    dashboard = json.loads((HERE / "grafana" / "dashboards" / "lbflask.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    answered = [bool(query(text.replace("$pool", ".*").replace("$__rate_interval", "1m"))) for text in queries]
    print(f"ok: Prometheus accepts {len(queries)} queries of the dashboard, and {sum(answered)} have values now")


def main() -> None:
    """All checks, in order."""
    for admin in ADMIN:
        wait(lambda admin=admin: is_ready(admin), f"the balancer at {admin} is ready")  # type: ignore[misc]
    check_turns()
    check_loss(sys.argv[1:])
    wait(lambda: query('up{job="lbflask"}') == [1, 1], "Prometheus scrapes both balancers")
    wait(lambda: query("sum(lbflask_requests_total)")[0] > 1000, "Prometheus has the requests")
    wait(lambda: query('max(lbflask_backend_up{backend="backend1:8081"})') == [0], "and the killed backend")
    check_panels()
    assert "<title>" in get(ADMIN[0]), "no dashboard"
    assert json.loads(get(ADMIN[1], "/api/v1/state", OPERATOR))["pools"], "no state"
    print("ok: the dashboard and its API answer")


main()
