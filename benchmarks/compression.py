"""Compression against nginx's gzip: processor time of a request, and bytes of its body, for each encoding and level.

Needs wrk and nginx. Each proxy in turn passes on a page and a JSON document of a backend, which is nginx without
compression. The processor time is that of all processes of a proxy, divided by its requests, so that it does not depend
on how many cores wrk leaves. The compiled build of lbflask takes part if it is here, else the one in Python.

    python -m benchmarks.compression [--rounds 3] [--seconds 3] [--connections 16]
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from benchmarks import proxies
from benchmarks.harness import WORKERS, Bench, await_response, bench, free_ports, need, processor_seconds, running
from benchmarks.proxies import Competitor
from benchmarks.throughput import Result, parse
from devtools.environment import HOST, ROOT
from devtools.report import Check, conclude, options, ratio, say, table
from lbflask.build import Build

HERE = Path(__file__).parent
#: By encoding, the empty one for none: the levels.
LEVELS = {"": (0,), "gzip": (1, 4, 6, 9), "br": (0, 3, 5), "zstd": (1, 3, 6)}
#: The levels that hold unless others are set.
USUAL = {"gzip": 4, "br": 3, "zstd": 3}
OURS, NGINX = "lbflask", "nginx"
TYPES = "text/html application/json"


@dataclass(frozen=True, slots=True)
class Subject:
    """A proxy with one encoding and level, and a document."""

    proxy: str
    coding: str
    level: int
    document: str


#: By subject: the rounds, and the bytes of the body.
Results = dict[Subject, tuple[list[Result], int]]


def documents() -> dict[str, bytes]:
    """A page of this project as HTML, and a JSON document, by path."""
    lines = (ROOT / "docs" / "routing.md").read_text("utf-8").splitlines()
    page = "".join(f"<p class='line' id='line-{number}'>{line}</p>\n" for number, line in enumerate(lines))
    orders = [
        {"id": number, "total": number * 19 % 997 / 10, "state": "paid", "items": [number % 7, 3]}
        for number in range(400)
    ]
    return {"page.html": page.encode(), "orders.json": json.dumps(orders).encode()}


def backend(rig: Bench, root: Path, port: int) -> list[str]:
    """nginx that serves the documents as they are."""
    types = "types { text/html html; application/json json; }"
    return proxies.nginx_command(rig.work, "documents", f"{types} server {{ listen {HOST}:{port}; root {root}; }}")


def proxy(rig: Bench, port: int, name: str, coding: str, level: int) -> Competitor:
    """The proxy before the backend."""
    if name == NGINX:
        (own,) = free_ports(1)
        gzip = f"gzip on; gzip_proxied any; gzip_types {TYPES}; gzip_min_length 1024; gzip_comp_level {level};"
        body = (
            f"upstream pool {{ server {HOST}:{port}; keepalive 256; keepalive_requests 100000000; }}"
            f" server {{ listen {HOST}:{own}; {gzip if coding else ''}"
            ' location / { proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection ""; } }'
        )
        return Competitor(NGINX, [proxies.nginx_command(rig.work, f"nginx-{level}", body, WORKERS)], own)
    settings = {"COMPRESSION__ENCODINGS": coding, f"COMPRESSION__{coding.upper()}_LEVEL": str(level)} if coding else {}
    found = {one.name: one for one in proxies.builds([port], rig, **settings)}
    return found.get(proxies.BUILD_NAMES[Build.COMPILED]) or found[proxies.BUILD_NAMES[Build.PYTHON]]


def measure(one: Competitor, coding: str, document: str, connections: int, seconds: int) -> Result:
    """A run of wrk for the document."""
    url, asked = f"http://{HOST}:{one.port}/{document}", f"Accept-Encoding: {coding or 'identity'}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "report.lua"), "-H", asked, url]
    before = processor_seconds(one.processes)
    result = parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    used = processor_seconds(one.processes) - before
    return replace(result, cpu=ratio(used * 1e6, result.requests * seconds))


def size_of(port: int, coding: str, document: str) -> int:
    """Bytes of the body. Fails for a response with another coding."""
    connection = http.client.HTTPConnection(HOST, port)
    connection.request("GET", f"/{document}", headers={"Accept-Encoding": coding or "identity"})
    response = connection.getresponse()
    size = len(response.read())
    connection.close()
    if (response.headers["Content-Encoding"] or "") != coding:
        raise RuntimeError(f"asked for {coding or 'no coding'}, and got {response.headers['Content-Encoding']}")
    return size


def run(rig: Bench, port: int, rounds: int, seconds: int, connections: int) -> Results:
    """Each proxy by itself, so that the others take no time from it."""
    results: Results = {}
    for name, (coding, levels) in product((OURS, NGINX), LEVELS.items()):
        for level in levels if name == OURS or coding in ("", "gzip") else ():
            one = proxy(rig, port, name, coding, level)
            with one.started():
                await_response(one.port)
                for document in documents():
                    size = size_of(one.port, coding, document)
                    measure(one, coding, document, connections, 1)  # warm
                    found = [measure(one, coding, document, connections, seconds) for _ in range(rounds)]
                    subject = Subject(name, coding, level, document)
                    results[subject] = found, size
                    say(f"{subject}: {median(found):.0f} us of processor time each, {size:,} bytes")
    return results


def median(rounds: list[Result]) -> float:
    return statistics.median(result.cpu for result in rounds)


def cost(results: Results, proxy: str, coding: str, level: int) -> float:
    """Microseconds of processor time that the compression adds to a request, as the mean of the documents."""
    return statistics.mean(
        median(results[Subject(proxy, coding, level, document)][0])
        - median(results[Subject(proxy, "", 0, document)][0])
        for document in documents()
    )


def judge(results: Results) -> list[Check]:
    """zstd goes before gzip since it costs less. What gzip costs beside nginx's is in the table."""
    gzip = cost(results, OURS, "gzip", USUAL["gzip"])
    zstd = cost(results, OURS, "zstd", USUAL["zstd"])
    errors = sum(result.errors for rounds, _ in results.values() for result in rounds)
    return [
        Check("zstd: time that it adds, against gzip", ratio(zstd, gzip), 1.0, "x"),
        Check("failed requests", errors, 0),
    ]


def show(results: Results) -> str:
    """A markdown table of the medians."""
    rows = []
    for subject, (rounds, size) in results.items():
        plain, whole = results[Subject(subject.proxy, "", 0, subject.document)]
        added = median(rounds) - median(plain)
        coding = f"{subject.coding} {subject.level}" if subject.coding else "none"
        cells = f"{median(rounds):,.0f}", f"{added:,.0f}", f"{size:,}", f"{size / whole:.0%}"
        rows.append([subject.document, subject.proxy, coding, *cells])
    rows.sort(key=lambda row: (row[0], row[1]))
    return table(["document", "", "coding", "CPU µs/req", "added", "bytes", "of the document"], rows)


def main() -> None:
    parser = options(__doc__, "compression")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    rounds, seconds = (1, 1) if given.quick else (given.rounds, given.seconds)
    need("wrk", "nginx")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        root = rig.work / "root"
        root.mkdir()
        for name, content in documents().items():
            (root / name).write_bytes(content)
        rig.work.chmod(0o711)  # for the workers of nginx
        (port,) = free_ports(1)
        stack.enter_context(running([backend(rig, root, port)], port))
        results = run(rig, port, rounds, seconds, given.connections)
    print(show(results), end="\n\n")
    plain = {
        f"{one.proxy} {one.coding or 'none'} {one.level} {one.document}": [median(rounds), size]
        for one, (rounds, size) in results.items()
    }
    conclude(given, judge(results), {"results": plain})


if __name__ == "__main__":
    main()
