"""A fleet of workers and their one store, event by event, on a clock of its own; the same for the same seed.

What a worker decides, the code of the workers decides: how many tickets its machine takes (`RateEstimator`,
`block_size`), when the next block is due (`TicketBlock`), how long it waits, when it polls and tries again (the
constants of `lbflask.store`). The rest is a model. Requests reach a machine at random (a Poisson process). The store
serves one command after another, as they arrive, each for a given time; a command that was given up is served
nevertheless, since it has been sent. Of new connections only so many wait to be accepted, and the others hear nothing.
A message is one more write for each subscriber. A machine without the store counts its requests as a sum, since they
follow each other in its own turn.

An event is a command that reaches the store. Two things are simpler than they are: a machine takes its tickets through
its first worker, and has no store when that one has none; and the rest of a block is offered to the store, but never
taken back.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import heapify, heappop, heappush
from random import Random

from benchmarks.simulation.costs import Costs
from benchmarks.simulation.shares import Shares
from lbflask.checker.publisher import COALESCE_FOR, COALESCE_PER_BACKEND
from lbflask.core.tickets import REFILL_AT, RETURN_AFTER, RateEstimator, TicketBlock, block_size
from lbflask.fleet.follower import POLL_EVERY
from lbflask.fleet.heartbeat import BEAT_WHILE_READING_EVERY, BEAT_WITH_NEWS_EVERY, PURGE_EVERY
from lbflask.fleet.store_link import RETRY_EVERY
from lbflask.store.redis_client import OPERATION_TIMEOUT

#: Way to the store or back that is drawn from: the median is given, the 99th percentile is about three times that.
SPREAD_OF_WAYS = 0.5
WAYS = 1 << 14
#: Connections that wait to be accepted (`tcp-backlog` of Redis and Valkey).
BACKLOG = 511
#: The health of a backend changes after so many seconds, and again and again; the last time so long before the end.
FLIP_EVERY = 1.5
FLIP_FIRST, FLIP_LAST = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet and its traffic. Times in seconds, rates in requests per second."""

    machines: int
    workers: int
    rate: float  #: of a worker, on average
    skew: float = 0.0  #: sigma of the lognormal distribution of rates; 0: all alike
    backends: int = 10
    seconds: float = 3.0
    seed: int = 1
    way: float = 0.0001  #: median of the network, one way
    check_every: float = 10.0
    beats: bool = True
    poll_every: float = POLL_EVERY
    timeout: float = OPERATION_TIMEOUT
    follower_timeout: float = OPERATION_TIMEOUT
    reading: bool = False  #: the strategy goes by the loads of the fleet
    spread: float = 0.0  #: who has heard of a change reads at random within so many seconds

    @property
    def beat_every(self) -> float:
        """Seconds between two beats of a worker, which has news in each."""
        return BEAT_WHILE_READING_EVERY if self.reading else BEAT_WITH_NEWS_EVERY

    @property
    def fleet(self) -> int:
        """All workers."""
        return self.machines * self.workers


class Command(IntEnum):
    """What reaches the store."""

    TAKE = 0  #: a machine wants tickets
    READ = 1  #: a worker polls, or has heard of a change
    BEAT = 2  #: a worker says that it lives, and what it has in flight
    JOIN = 3  #: a worker connects anew and subscribes
    WORD = 4  #: the checker's word, nothing new
    FLIP = 5  #: the checker's word, and a backend's health has changed
    RETURN = 6  #: a machine offers the rest of a block


#: Arrival at the store, whose, what, when it was sent, and for READ the turn in which it was meant.
Event = tuple[float, int, Command, float, int]


@dataclass(slots=True)
class Worker:
    """What the model knows of a worker. Times are infinite for what does not happen."""

    rate: float  #: of its machine, if it is the first one there; else 0
    pace: RateEstimator
    asked: float = math.inf  #: arrival of the request that needs the next tickets
    turns: int = 0  #: of its machine, until now
    hand: tuple[int, int] = (0, 0)  #: the first ticket in hand, and how many
    served_at: float = 0.0  #: when the latest turn was
    local: int = 0
    local_since: float = math.inf  #: its requests do without the store
    lost_from: float = math.inf  #: the store is out of reach
    lost_until: float = math.inf
    turn: int = 0
    read_at: float = 0.0  #: the next reading is sent
    poll_at: float = 0.0
    listens_from: float = 0.0
    version: int = 0
    subscribed: bool = True
    bury_at: float = 0.0
    connect: float = 0.0  #: what the next command pays for a new connection

    def lost(self, at: float) -> bool:
        return self.lost_from <= at < self.lost_until


@dataclass(slots=True)
class Outcome:
    """What happened. Times in seconds."""

    commands: dict[str, int]
    busy: float = 0.0
    waits: array[float] = field(default_factory=lambda: array("d"))  #: of commands, until their turn at the store
    delays: array[float] = field(default_factory=lambda: array("d"))  #: of requests that needed tickets, until they had
    served: int = 0  #: requests with a ticket of the fleet's
    alone: int = 0  #: requests with a local one
    thrown_away: int = 0  #: blocks of which something was left
    knew: array[float] = field(default_factory=lambda: array("d"))  #: from a change to each worker's knowing
    ignorant: int = 0  #: workers that had not heard of the last change at the end
    lost: float = 0.0  #: seconds without the store, of all workers
    shares: list[Shares] = field(default_factory=list)


def primed(rate: float, now: float, turn: int = 0) -> RateEstimator:
    """The pace of a machine that has had this rate for some time."""
    return RateEstimator(now, turn, rate)


class Simulation:
    """One run. Its Outcome is complete after `run`."""

    def __init__(self, plan: Plan, costs: Costs, shares: list[Shares]) -> None:
        self.plan = plan
        self.outcome = Outcome({command.name.lower(): 0 for command in Command}, shares=shares)
        self._costs = costs
        self._random = Random(plan.seed)
        self._ways = [plan.way * self._random.lognormvariate(0, SPREAD_OF_WAYS) for _ in range(WAYS)]
        self._free = 0.0  # the store has nothing more to do
        self._waiting: deque[float] = deque()  # when each new connection is accepted
        self._counter = 0
        self._flips: list[float] = []
        self._events: list[Event] = []
        self._workers = [worker for rate in self._rates() for worker in self._machine(rate)]
        self._subscribers = len(self._workers)
        self._begin()

    def _rates(self) -> list[float]:
        """The requests per second of each machine: the sum of its workers' rates."""
        drawn = [self._random.lognormvariate(0, self.plan.skew) for _ in range(self.plan.fleet)]
        rates, size = [self.plan.rate * each * len(drawn) / sum(drawn) for each in drawn], self.plan.workers
        return [sum(rates[at : at + size]) for at in range(0, len(rates), size)]

    def _machine(self, rate: float) -> list[Worker]:
        """The workers of a machine, of which the first takes the tickets."""
        local = self._random.randrange(1 << 30)
        return [Worker(0.0 if n else rate, primed(rate, 0.0), local=local) for n in range(self.plan.workers)]

    def _begin(self) -> None:
        """Everybody is somewhere in the middle of what he does."""
        plan, chance = self.plan, self._random.random
        for number, worker in enumerate(self._workers):
            worker.read_at = worker.poll_at = chance() * plan.poll_every
            worker.bury_at = chance() * PURGE_EVERY
            if worker.rate:
                due = self._begin_turns(worker)
                self._events.append((due, number, Command.TAKE, due, 0))
            self._events.append((worker.read_at, number, Command.READ, worker.read_at, 0))
            if plan.beats:
                beat = chance() * plan.beat_every
                self._events.append((beat, number, Command.BEAT, beat, 0))
        word_every = max(COALESCE_FOR, COALESCE_PER_BACKEND * plan.backends, plan.check_every / plan.backends)
        words = [word_every * number for number in range(int(plan.seconds / word_every))]
        flips = int((plan.seconds - FLIP_FIRST - FLIP_LAST) / FLIP_EVERY) + 1
        self._events += [(at, -1, Command.WORD, at, 0) for at in words]
        self._events += [(at, -1, Command.FLIP, at, 0) for at in (FLIP_FIRST + FLIP_EVERY * n for n in range(flips))]
        heapify(self._events)

    def _begin_turns(self, worker: Worker) -> float:
        """Somewhere in the midst of a block, if the machine has any; when the next tickets are due."""
        size = block_size(worker.rate, self.plan.fleet)
        if size == 1:
            worker.asked = self._random.expovariate(worker.rate)
            return worker.asked
        left = round(self._random.random() * size)
        worker.hand, self._counter = (self._counter, left), self._counter + left
        worker.served_at = self._use(worker, max(0, left - size // REFILL_AT), 0.0)
        return worker.served_at

    def run(self) -> Outcome:
        """All events until the end."""
        events, workers, end = self._events, self._workers, self.plan.seconds
        act: list[Callable[[Worker, int, float, float, int], None]] = [
            self._take, self._read, self._beat, self._join, self._word, self._flip, self._return,
        ]  # fmt: skip
        while events and events[0][0] < end:
            arrival, number, command, sent, turn = heappop(events)
            act[command](workers[number], number, arrival, sent, turn)
        self._close(end)
        return self.outcome

    def _way(self) -> float:
        return self._ways[int(self._random.random() * WAYS)]

    def _send(self, command: Command, number: int, sent: float, turn: int = 0) -> None:
        heappush(self._events, (sent + self._way(), number, command, sent, turn))

    def _serve(self, command: Command, arrival: float, cost: float, worker: Worker | None = None) -> float:
        """When the store has done with the command; never, if that takes a new connection and too many wait for one."""
        begun = max(arrival, self._free)
        if worker is not None and worker.connect:
            waiting = self._waiting
            while waiting and waiting[0] <= arrival:
                waiting.popleft()
            if len(waiting) >= BACKLOG:
                return math.inf
            waiting.append(begun)
            cost += worker.connect
            worker.connect = 0.0
        self._free = begun + cost
        outcome = self.outcome
        outcome.commands[command.name.lower()] += 1
        outcome.busy += cost
        outcome.waits.append(begun - arrival)
        return self._free

    def _take(self, worker: Worker, number: int, arrival: float, sent: float, _: int) -> None:
        """Tickets for a request that has none, and all that wait with it; or the next block before this one ends."""
        waiting = 0 if worker.asked == math.inf else 1 + round(worker.rate * max(0.0, sent - worker.asked))
        size = block_size(worker.pace.sample(sent, worker.turns + waiting), self.plan.fleet)
        if not waiting and size == 1 and not worker.lost(sent):
            self._ask_later(worker, number, self._use(worker, worker.hand[1], worker.served_at), sent)
            return
        count = max(1, waiting) + size - 1
        first, self._counter = self._counter, self._counter + (0 if worker.lost(sent) else count)
        if worker.lost(sent):
            self._go_alone(worker, number, sent)
            return
        back = self._serve(Command.TAKE, arrival, self._costs.take, worker) + self._way()
        if back - sent > self.plan.timeout:
            self.outcome.thrown_away += 1
            self._lose(worker, sent + self.plan.timeout)
            self._go_alone(worker, number, sent + self.plan.timeout)
            return
        if not waiting:
            worker.asked = self._use(worker, worker.hand[1], worker.served_at)
            worker.asked += self._random.expovariate(worker.rate)
        if worker.asked < back:
            self.outcome.delays.append(back - worker.asked)
        self._spend(worker, number, TicketBlock(0, 0, 0).extended(count, first, refills=size > 1), back)

    def _spend(self, worker: Worker, number: int, block: TicketBlock, back: float) -> None:
        """The requests from `asked` on use the new block, until the next one is due."""
        count = block.end - block.first
        worker.hand = block.first + block.offset, count
        due = block.refill - block.first if block.refill else count
        done = self._use(worker, max(1, due), worker.asked, begun=True)
        if not block.refill or due < 1:
            self._ask_later(worker, number, done, back)
            return
        worker.asked, worker.served_at = math.inf, done
        self._send(Command.TAKE, number, max(done, back))
        if done - back > RETURN_AFTER:
            self._send(Command.RETURN, number, back + RETURN_AFTER)

    def _ask_later(self, worker: Worker, number: int, since: float, free: float) -> None:
        """The next request needs a ticket; the trip begins when the one before has ended."""
        worker.asked = since + self._random.expovariate(worker.rate)
        self._send(Command.TAKE, number, max(worker.asked, free))

    def _use(self, worker: Worker, count: int, since: float, *, begun: bool = False) -> float:
        """When so many tickets in hand are used, by requests since then; if `begun`, the first is at that time."""
        end, more = self.plan.seconds, count - begun
        done = since + (self._random.gammavariate(more, 1 / worker.rate) if more else 0.0)
        share = 1.0 if done < end else max(0.0, end - since) / (done - since) if done > since else 0.0
        first, held = worker.hand
        used = round(count * share)
        self._used(first, used)
        worker.hand = first + used, held - used
        worker.turns += used
        self.outcome.served += used
        return done

    def _return(self, worker: Worker, _n: int, arrival: float, sent: float, _t: int) -> None:
        if not worker.lost(sent):
            self._serve(Command.RETURN, arrival, self._costs.read, worker)

    def _used(self, first: int, count: int) -> None:
        for shares in self.outcome.shares:
            shares.add(first, count)

    def _go_alone(self, worker: Worker, number: int, at: float) -> None:
        if worker.asked < math.inf:
            self.outcome.delays.append(at - worker.asked)
        self.outcome.thrown_away += worker.hand[1] > 0
        worker.hand = 0, 0
        worker.local_since = min(worker.asked, at)
        if worker.lost_until < math.inf:
            self._rejoin(worker, number)

    def _rejoin(self, worker: Worker, number: int) -> None:
        """The store is back for a worker whose requests did without it."""
        back = worker.lost_until
        self._served_alone(worker, back)
        worker.pace = primed(worker.rate, back, worker.turns)
        self._ask_later(worker, number, back, back)

    def _served_alone(self, worker: Worker, until: float) -> None:
        mean = worker.rate * (until - worker.local_since)
        count = max(1, round(self._random.gauss(mean, math.sqrt(mean)))) if mean > 0 else 0
        self._used(worker.local, count)
        worker.local += count
        worker.turns += count
        worker.local_since = math.inf
        self.outcome.alone += count

    def _lose(self, worker: Worker, at: float) -> None:
        worker.connect = self._costs.join  # redis-py gives up the connection as well
        if not worker.lost(at):
            worker.lost_from, worker.lost_until = at, math.inf

    def _find(self, worker: Worker, number: int, at: float) -> None:
        if worker.lost(at):
            worker.lost_until = at
            self.outcome.lost += at - worker.lost_from
            if worker.local_since < math.inf:
                self._rejoin(worker, number)

    def _read(self, worker: Worker, number: int, arrival: float, sent: float, turn: int) -> None:
        if turn != worker.turn:
            return  # it was sent earlier, because of a message
        cost = self._costs.read
        if worker.version != len(self._flips):
            cost += self._costs.record * self.plan.backends
        back = self._serve(Command.READ, arrival, cost, worker) + self._way()
        if back - sent > self.plan.follower_timeout:
            self._lose_follower(worker, number, sent + self.plan.follower_timeout)
            return
        for flip in self._flips[worker.version :]:
            self.outcome.knew.append(back - flip)
        worker.version = len(self._flips)
        if sent >= worker.poll_at:
            worker.poll_at = back + self.plan.poll_every
        self._find(worker, number, back)
        worker.listens_from = back
        worker.read_at = max(back, worker.poll_at)
        self._send(Command.READ, number, worker.read_at, worker.turn)

    def _lose_follower(self, worker: Worker, number: int, at: float) -> None:
        self._lose(worker, at)
        self._subscribers -= worker.subscribed
        worker.subscribed = False
        worker.read_at = math.inf
        self._send(Command.JOIN, number, at + RETRY_EVERY)

    def _join(self, worker: Worker, number: int, arrival: float, sent: float, _: int) -> None:
        back = self._serve(Command.JOIN, arrival, self._costs.take, worker) + self._way()
        if back - sent > self.plan.follower_timeout:
            self._lose_follower(worker, number, sent + self.plan.follower_timeout)
            return
        worker.subscribed = True
        self._subscribers += 1
        worker.connect = self._costs.join  # the subscription has a connection of its own
        worker.read_at = worker.poll_at = worker.listens_from = back
        self._send(Command.READ, number, back, worker.turn)

    def _beat(self, worker: Worker, number: int, arrival: float, sent: float, _: int) -> None:
        back = sent
        if not worker.lost(sent):
            cost = self._costs.beat
            if self.plan.reading or sent >= worker.bury_at:
                worker.bury_at = sent + PURGE_EVERY
                cost += self._costs.other * len(self._workers)
            back = self._serve(Command.BEAT, arrival, cost, worker) + self._way()
            if back - sent > self.plan.timeout:
                back = sent + self.plan.timeout
                self._lose(worker, back)
        self._send(Command.BEAT, number, max(back, sent + self.plan.beat_every))

    def _word(self, _w: Worker, _n: int, arrival: float, _s: float, _t: int) -> None:
        self._serve(Command.WORD, arrival, self._costs.word)

    def _flip(self, _w: Worker, _n: int, arrival: float, sent: float, _t: int) -> None:
        """One write of the checker's, and a message to each subscriber, who reads at once if he listens."""
        told, spread = self._costs.told, self.plan.spread
        done = self._serve(Command.FLIP, arrival, self._costs.word + told * self._subscribers)
        self._flips.append(sent)
        heard = done - told * self._subscribers
        for number, worker in enumerate(self._workers):
            if not worker.subscribed:
                continue
            heard += told
            at = max(heard + self._way() + spread * self._random.random(), worker.listens_from)
            if at < worker.read_at:
                worker.turn += 1
                worker.read_at = at
                self._send(Command.READ, number, at, worker.turn)

    def _close(self, end: float) -> None:
        outcome = self.outcome
        for worker in self._workers:
            outcome.ignorant += worker.version != len(self._flips)
            if worker.local_since < end:
                self._served_alone(worker, end)
            elif worker.hand[1]:
                self._use(worker, worker.hand[1], worker.served_at)
            if worker.lost(end):
                outcome.lost += end - worker.lost_from
