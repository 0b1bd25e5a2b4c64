"""How long an archive takes on so many machines, and what a procedure costs: a simulation with stated assumptions.

    python scripts/simulate_archive.py --procedures 10000 --machines 1 10 100 --frames-per-second 20

Assumptions:
- Procedures last as a log-normal distribution says: a median and a spread (the standard deviation of the logarithm).
- A worker predicts at one rate, decodes frames that are left out at another, and needs a fixed time a video besides
  (opening, writing, waiting).
- A machine runs one or more workers, each at that rate: measure the rate with as many workers at once.
- A machine fails at random times (exponential); what its workers had in hand is lost and begins again; the machine is
  back after a recovery. Storage keeps up with all machines, and never fails.
- Videos are taken in the order of the manifest, which knows nothing of their length: the last ones end late.
- The price is paid for every machine until the last video is done.
"""

import argparse
import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class Farm(NamedTuple):
    """The machines.

    Attributes:
        machines: How many.
        workers: Of a machine.
        start_seconds: From a machine's start until its workers have loaded the model.
        hours_between_failures: Mean, of one machine; 0 for never.
        recovery_seconds: Until a machine that failed starts again.
    """

    machines: int
    workers: int = 1
    start_seconds: float = 60.0
    hours_between_failures: float = 0.0
    recovery_seconds: float = 300.0


class Plan(NamedTuple):
    """What comes of it.

    Attributes:
        seconds: Until the last video is done.
        lost_seconds: Work that failures threw away.
        num_failures: That hit a video.
    """

    seconds: float
    lost_seconds: float
    num_failures: int


def lengths(count: int, median_minutes: float, spread: float, rng: random.Random) -> list[float]:
    """Seconds of so many procedures."""
    return [60 * rng.lognormvariate(math.log(median_minutes), spread) for _ in range(count)]


def seconds_a_frame(predicted_a_second: float, decoded_a_second: float, every: int) -> float:
    """Mean seconds of a worker for a frame of a video of which every N-th is predicted, and the others only decoded."""
    return (1 / predicted_a_second + (every - 1) / decoded_a_second) / every


def simulate(work: Sequence[float], farm: Farm, rng: random.Random) -> Plan:
    """What comes of videos that need so many seconds of a worker each."""
    failures = [_Failures(farm, rng) for _ in range(farm.machines)]
    free = [(farm.start_seconds, machine, worker) for machine in range(farm.machines) for worker in range(farm.workers)]
    heapq.heapify(free)
    waiting, ready = list(reversed(work)), list[tuple[float, float]]()
    end = lost = 0.0
    num_failures = 0
    while waiting or ready:
        now, machine, worker = heapq.heappop(free)
        if waiting:
            begin, needed = now, waiting.pop()
        else:  # a video that a failure threw back; it is there from that failure on
            at, needed = heapq.heappop(ready)
            begin = max(now, at)
        failure = failures[machine].first(begin, begin + needed)
        if failure is None:
            end = max(end, begin + needed)
            heapq.heappush(free, (begin + needed, machine, worker))
            continue
        num_failures += 1
        lost += failure - begin
        heapq.heappush(ready, (failure, needed))
        heapq.heappush(free, (failure + farm.recovery_seconds + farm.start_seconds, machine, worker))
    return Plan(end, lost, num_failures)


class _Failures:
    """The times at which a machine fails, made as far as they are asked for."""

    def __init__(self, farm: Farm, rng: random.Random) -> None:
        self._mean, self._rng, self._times = 3600 * farm.hours_between_failures, rng, list[float]()

    def first(self, begin: float, end: float) -> float | None:
        """The first failure in (begin, end]; None for none."""
        if not self._mean:
            return None
        while not self._times or self._times[-1] <= end:
            last = self._times[-1] if self._times else 0.0
            self._times.append(last + self._rng.expovariate(1 / self._mean))
        found = self._times[bisect_right(self._times, begin)]
        return found if found <= end else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--procedures", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=30.0, help="median length of a procedure")
    parser.add_argument("--spread", type=float, default=0.4, help="of the logarithm of the length")
    parser.add_argument("--video-rate", type=float, default=25.0, help="frames a second of a video")
    parser.add_argument("--frames-per-second", type=float, required=True, help="that a worker predicts: measure it")
    parser.add_argument("--every", type=int, default=1, help="predict every N-th frame")
    parser.add_argument("--decode-per-second", type=float, default=200.0, help="frames that are decoded and left out")
    parser.add_argument("--overhead", type=float, default=5.0, help="seconds a video besides its frames")
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--workers", type=int, default=1, help="of a machine")
    parser.add_argument("--hours-between-failures", type=float, default=720.0, help="mean, of a machine; 0 for never")
    parser.add_argument("--price", type=float, default=0.10, help="of a machine and hour")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    seconds = lengths(given.procedures, given.minutes, given.spread, rng)
    frame_seconds = seconds_a_frame(given.frames_per_second, given.decode_per_second, given.every)
    work = [given.overhead + length * given.video_rate * frame_seconds for length in seconds]
    print(
        f"{given.procedures:,} procedures, {sum(seconds) / 3600:,.0f} hours of video, {sum(work) / 3600:,.0f} of work"
    )
    print(
        f"{'machines':>9} {'hours':>10} {'days':>8} {'busy':>6} {'failures':>9} {'lost hours':>10} {'a procedure':>14}"
    )
    for machines in given.machines:
        farm = Farm(machines, given.workers, hours_between_failures=given.hours_between_failures)
        plan = simulate(work, farm, random.Random(given.seed + machines))
        hours = plan.seconds / 3600
        busy = sum(work) / (plan.seconds * machines * given.workers)
        price = hours * machines * given.price / given.procedures
        print(
            f"{machines:>9} {hours:>10,.1f} {hours / 24:>8,.1f} {busy:>6.0%} {plan.num_failures:>9,} "
            f"{plan.lost_seconds / 3600:>10,.1f} {price:>14.4f}"
        )


if __name__ == "__main__":
    main()
