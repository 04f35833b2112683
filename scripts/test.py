#!/usr/bin/env python3
"""Runs every test suite of the project and closes with `N passed, N failed`.

Suites run to the end even if an earlier one failed. A suite counts as one failure if it fails
without naming a failed test: it did not build, hung, or lint found something.

Name suites (`scripts/test.py web native`) to run only those.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIME_LIMIT_SECONDS = 30 * 60
# What is said again of a suite that failed, after all suites: lines that name what failed, and the
# last ones, where most runners say why.
NAMES_A_FAILURE = re.compile(r"\bFAILED\b|panicked at|^--- FAIL")
LAST_LINES = 60


@dataclass
class Suite:
    """A command, and how its runner says what it counted.

    Each pattern's first group is a number; all matches are added up.
    """

    name: str
    command: list[str]
    passed: str | None = None
    failed: str | None = None
    skipped: str | None = None
    # For runners that only say how many ran: the passed ones are the rest.
    ran: str | None = None
    directory: str = "."


CARGO = {
    "passed": r"^test result: .* (\d+) passed;",
    "failed": r"^test result: .* (\d+) failed;",
    "skipped": r"^test result: .* (\d+) ignored;",
}
VITEST = {
    "passed": r"^ *Tests .*?(\d+) passed",
    "failed": r"^ *Tests .*?(\d+) failed",
    "skipped": r"^ *Tests .*?(\d+) skipped",
}
PLAYWRIGHT = {
    "passed": r"^ +(\d+) (?:passed|flaky)\b",
    "failed": r"^ +(\d+) (?:failed|interrupted|did not run)\b",
    "skipped": r"^ +(\d+) skipped\b",
}
UNITTEST = {
    "ran": r"^Ran (\d+) tests?",
    "failed": r"(?:failures|errors|unexpected successes)=(\d+)",
    "skipped": r"skipped=(\d+)",
}
# One line a test: each is one match, so the group may be empty.
GO = {
    "passed": r"^--- PASS()",
    "failed": r"^--- FAIL()",
    "skipped": r"^--- SKIP()",
}

SUITES = [
    Suite("lint", ["scripts/lint.sh"]),
    Suite("rust", ["cargo", "test", "--workspace", "--locked", "--no-fail-fast"], **CARGO),
    Suite("build", ["make", "build", "media"]),
    # Kubernetes from source takes minutes the first time, which are not the tests'.
    Suite("kubernetes", ["e2e/cluster/build.sh"]),
    Suite("web", ["npm", "test"], directory="media-node/web", **VITEST),
    Suite("browser", ["npm", "test"], directory="e2e/browser", **PLAYWRIGHT),
    Suite("cluster", ["/usr/bin/python3", "-m", "unittest", "-v"], directory="e2e/cluster", **UNITTEST),
    Suite("bench", ["/usr/bin/python3", "-m", "unittest", "-v"], directory="e2e/bench/network", **UNITTEST),
    Suite("gstreamer", ["/usr/bin/python3", "-m", "unittest", "-v"], directory="e2e/native", **UNITTEST),
    Suite("pion", ["go", "test", "-count=1", "-v", "./..."], directory="e2e/native/pion", **GO),
]


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    # What it said of that.
    failures: tuple[str, ...] = ()


def count(pattern: str | None, output: str) -> int:
    if pattern is None:
        return 0
    return sum(int(number or 1) for number in re.findall(pattern, output, re.MULTILINE))


def run(suite: Suite) -> Outcome:
    print(f"\n==== {suite.name}: {' '.join(suite.command)}", flush=True)
    started = time.monotonic()
    # Its own process group, so that what it started can be ended with it.
    process = subprocess.Popen(
        suite.command,
        cwd=ROOT / suite.directory,
        env={**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    hung = threading.Event()

    def end() -> None:
        hung.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(TIME_LIMIT_SECONDS, end)
    timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        timer.cancel()

    output = re.sub(r"\x1b\[[0-9;]*m", "", "".join(lines))
    outcome = Outcome(
        count(suite.passed, output), count(suite.failed, output), count(suite.skipped, output)
    )
    if suite.ran is not None:
        outcome.passed = max(0, count(suite.ran, output) - outcome.failed - outcome.skipped)
    if hung.is_set():
        print(f"{suite.name}: ended after {TIME_LIMIT_SECONDS} s")
    if status != 0 and outcome.failed == 0:
        outcome.failed = 1
    counts = suite.passed is not None or suite.ran is not None
    if status == 0 and counts and outcome.passed + outcome.skipped == 0:
        print(f"{suite.name}: ran no test")
        outcome.failed = 1
    if outcome.failed:
        said = output.splitlines()
        named = filter(NAMES_A_FAILURE.search, said[:-LAST_LINES])
        outcome.failures = (*named, *said[-LAST_LINES:])
    verdict = "ok" if outcome.failed == 0 else "FAILED"
    seconds = time.monotonic() - started
    print(
        f"==== {suite.name}: {verdict}, {outcome.passed} passed, {outcome.failed} failed, "
        f"{outcome.skipped} skipped in {seconds:.0f} s",
        flush=True,
    )
    return outcome


def main() -> int:
    wanted = sys.argv[1:] or [suite.name for suite in SUITES]
    unknown = set(wanted) - {suite.name for suite in SUITES}
    if unknown:
        sys.exit(f"no suite is called {', '.join(sorted(unknown))}; there are "
                 + ", ".join(suite.name for suite in SUITES))
    outcomes = {suite.name: run(suite) for suite in SUITES if suite.name in wanted}
    total = Outcome(
        sum(o.passed for o in outcomes.values()),
        sum(o.failed for o in outcomes.values()),
        sum(o.skipped for o in outcomes.values()),
    )
    for name, outcome in outcomes.items():
        if outcome.failures:
            print(f"\n==== {name} failed:", *outcome.failures, sep="\n")
    print()
    for name, outcome in outcomes.items():
        print(f"{name:10} {outcome.passed:5} passed {outcome.failed:4} failed {outcome.skipped:4} skipped")
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
