"""
Cause faults and count what is lost and doubled: `python -m tests.faults`, or `make faults`.

  python -m tests.faults --list
  python -m tests.faults T3-kill T4
  python -m tests.faults --full T2         as often and as long as the figures in docs/operations.md
  python -m tests.faults --long            the long ones: bad networks, full disks, an hour under everything
  python -m tests.faults --minutes 5 T25   the soak, shorter
  python -m tests.faults --json            one JSON object a fault

Exit status: 0 all was well; 1 something was not; 3 all that ran was well, but not all ran.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stand import Stand, stand
from tests.support.services import KafkaBroker, RedisServer, Service, ServiceUnavailable

S = TypeVar("S", bound=Service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one scenario showed."""

    name: str
    fault: str
    times: int
    records: int
    lost: int
    doubled: int
    recovery_s: float | None
    """The longest; None where nothing stood still."""
    seconds: float
    problems: str = ""
    not_run: str = ""
    """Why this machine cannot cause it."""
    notes: tuple[str, ...] = ()


class Services:
    """One broker and one Redis for all scenarios that leave them whole, others get their own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._shared: tuple[KafkaBroker, RedisServer] | None = None

    @contextmanager
    def stand(self, scenario: Scenario, *, short: bool) -> Iterator[Stand]:
        with ExitStack() as stack:
            if scenario.stand is not None:
                yield stack.enter_context(scenario.stand(short=short))
                return
            kafka: KafkaBroker | None = None
            redis: RedisServer | None = None
            if scenario.kafka and scenario.own:
                kafka, redis = _start(stack, KafkaBroker(own=True)), _start(stack, RedisServer())
            elif scenario.kafka:
                if self._shared is None:
                    self._shared = _start(self._stack, KafkaBroker(own=True)), _start(self._stack, RedisServer())
                kafka, redis = self._shared
            yield stack.enter_context(stand(kafka=kafka, redis=redis, short=short))


def _start(stack: ExitStack, service: S) -> S:
    stack.callback(service.remove)
    service.start()
    return service


def run(scenario: Scenario, services: Services, *, short: bool, minutes: float = 60) -> Row:
    """Cause the fault and judge what became of the records."""
    try:
        return _run(scenario, services, short=short, minutes=minutes)
    except ServiceUnavailable as error:
        return Row(
            name=scenario.name,
            fault=scenario.fault,
            times=0,
            records=0,
            lost=0,
            doubled=0,
            recovery_s=None,
            seconds=0,
            not_run=str(error),
        )


def _run(scenario: Scenario, services: Services, *, short: bool, minutes: float) -> Row:
    started = time.monotonic()
    with services.stand(scenario, short=short) as on:
        on.minutes = minutes
        records = lost = doubled = 0
        problems = ""
        try:
            scenario.cause(on)
            findings = on.finish()
        except AssertionError as error:
            problems = f"{error}\n{on.said()}"
        else:
            records, lost, doubled = findings.records, len(findings.lost), len(findings.doubled)
            problems = "\n".join([*([] if findings.well else [str(findings)]), *on.problems])
        return Row(
            name=scenario.name,
            fault=scenario.fault,
            times=on.times,
            records=records,
            lost=lost,
            doubled=doubled,
            recovery_s=round(max(on.recoveries), 1) if on.recoveries else None,
            seconds=round(time.monotonic() - started),
            problems=problems,
            notes=tuple(on.notes),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 when all was well."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all but the long ones when none is named")
    parser.add_argument("--list", action="store_true", help="show the scenarios")
    parser.add_argument("--full", action="store_true", help="each fault as often and as long as it is judged by")
    parser.add_argument("--long", action="store_true", help="the long ones, in full")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="how long the soak lasts (60)")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    args = parser.parse_args(argv)
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; --list shows them")
    if args.list:
        print("\n".join(f"{each.name:<14} {each.fault}" for each in SCENARIOS))
        return 0
    failed = missing = 0
    with ExitStack() as stack:
        services = Services(stack)
        if not args.json:
            print("| | fault | times | records | lost | doubled | recovery s | took s |")
            print("|---|---|---|---|---|---|---|---|")
        for name in args.names or [each.name for each in SCENARIOS if each.long == args.long]:
            print(f"{name}: {known[name].fault} …", file=sys.stderr, flush=True)
            row = run(known[name], services, short=not (args.full or args.long), minutes=args.minutes)
            failed += bool(row.problems)
            missing += bool(row.not_run)
            print(json.dumps(dataclasses.asdict(row)) if args.json else _line(row), flush=True)
            if not args.json:
                for said in (*row.notes, row.problems):
                    if said:
                        print(f"{row.name}: {said}", file=sys.stderr, flush=True)
    return 1 if failed else 3 if missing else 0


def _line(row: Row) -> str:
    if row.not_run:
        return f"| {row.name} | {row.fault} | NOT RUN: {row.not_run} | | | | | |"
    recovery = "–" if row.recovery_s is None else f"{row.recovery_s:.1f}"
    return (
        f"| {row.name} | {row.fault} | {row.times} | {row.records:,} | {row.lost} | {row.doubled} | {recovery}"
        f" | {row.seconds:.0f} |{' FAILED' if row.problems else ''}"
    )


if __name__ == "__main__":
    # Asked to end, it ends its workers and services too, as on Ctrl-C: they would go on for ever.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
