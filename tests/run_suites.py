#!/usr/bin/python3
"""`./dev test`: builds what the tests need, runs every suite, adds up what they report.

A suite is one process with a report of its own (GoogleTest's XML, pytest's junit XML, or only its exit code). A crash, a
hang and a missing report count as a failure and show the end of the log; a sanitizer's finding ends its process, and the
end-to-end tests look for one in what the proxy wrote.
Small suites run side by side, one per CPU; the end-to-end suites spread over all CPUs and run alone, since they measure.

The last line is "N passed, N failed, N skipped". Exit 1 if anything failed or, with CI=true, was skipped.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "test"
PRESETS = ("release", "asan", "tsan")  # asan has the fuzz targets too
CPUS = len(os.sched_getaffinity(0))
PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
TAIL = 60  # lines of a failed suite's log that are shown
FUZZ_SECONDS = 12
SLOWER = {"release": 1, "asan": 3, "tsan": 6}  # by so much deadlines are stretched

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1:history_size=5",
}
running = set()  # process groups under way, ended when we are


@dataclass
class Suite:
    name: str
    command: list
    kind: str  # gtest | pytest | exit
    timeout: float
    preset: str = "release"
    alone: bool = False
    env: dict = field(default_factory=dict)
    filtered: bool = False  # then running no test at all is no failure

    @property
    def stem(self):
        return self.name.replace(" ", "-").replace("/", "_")

    @property
    def log(self):
        return OUT / f"{self.stem}.log"

    @property
    def report(self):
        return OUT / f"{self.stem}.xml"


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: list = field(default_factory=list)  # each is one of `failed`, or names one
    notes: list = field(default_factory=list)  # why something was skipped

    def fail(self, problem):
        self.failed += 1
        self.problems.append(problem)


def say(text):
    sys.stdout.write(text + "\n")  # in one piece: suites end side by side
    sys.stdout.flush()


# ---- what there is to run ----


def unit_programs(preset):
    return sorted(p for p in (ROOT / "build" / preset).glob("edgemux_*_test") if p.is_file())


def fuzz_targets():
    return subprocess.run([ROOT / "tests/fuzz/run", "--list"], check=True, capture_output=True, text=True).stdout.split()


def unit_suites(preset, words):
    for program in unit_programs(preset):
        folder = program.name[len("edgemux_") : -len("_test")]
        suite = Suite(f"unit {preset} {folder}", [program], "gtest", 120 * SLOWER[preset], preset)
        if words and words not in suite.name:
            suite.command.append(f"--gtest_filter=*{words}*")
            suite.filtered = True
        suite.command.append(f"--gtest_output=xml:{suite.report}")
        yield suite


def e2e_suite(preset, words, full):
    suite = Suite(f"e2e {preset}", [], "pytest", 5400 if full else 900, preset, alone=True)
    marks = [] if full else ["not full"]
    if preset != "release":
        marks.append("sanitizer")
    # Tests of the release build wait more than they work.
    suite.command = [*PYTEST, "-ra", "-n", str(3 * CPUS if preset == "release" else 2 * CPUS), "--dist", "loadgroup", "--durations=10",
                     f"--junit-xml={suite.report}", "tests/e2e"]
    if marks:
        suite.command += ["-m", " and ".join(marks)]
    if words and words not in suite.name:
        suite.command += ["-k", words]
        suite.filtered = True
    suite.env = {"EDGEMUX_BIN": str(ROOT / "build" / preset / "edgemux"), "EDGEMUX_SLOW": str(SLOWER[preset])}
    if full:
        suite.env["EDGEMUX_FULL"] = "1"
    return suite


def suites(presets, words, full):
    if "release" in presets:
        for name in ("arrows", "documents", "schema"):
            suite = Suite(name, [*PYTEST, f"tests/{name}_test.py"], "pytest", 60)
            suite.command.append(f"--junit-xml={suite.report}")
            if words and words not in name:
                suite.command += ["-k", words]
                suite.filtered = True
            yield suite
    # The longest first, so that the CPUs end together.
    if "asan" in presets:
        for target in fuzz_targets():
            command = [ROOT / "tests/fuzz/run", ROOT / "build/asan" / target, str(FUZZ_SECONDS), OUT / target]
            suite = Suite(f"fuzz {target}", command, "exit", FUZZ_SECONDS * 3 + 60, "asan")
            if not words or words in suite.name:
                yield suite
    for preset in ("tsan", "asan", "release"):
        if preset in presets:
            yield from unit_suites(preset, words)
    for preset in ("release", "asan", "tsan"):
        if preset in presets:
            yield e2e_suite(preset, words, full)


# ---- building ----


def build(preset):
    """The text of what went wrong, or None."""
    targets = ["edgemux", "unit_tests", *(["fuzz_targets"] if preset == "asan" else [])]
    directory = ROOT / "build" / preset
    began = time.monotonic()
    log = OUT / f"build-{preset}.log"
    with open(log, "wb") as out:
        status = 0
        if not (directory / "build.ninja").exists():
            status = subprocess.call(["cmake", "--preset", preset], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        if status == 0:
            command = ["cmake", "--build", directory, "--target", *targets]
            status = subprocess.call(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    say(f"{'build ' + preset:<40} {'built' if status == 0 else 'FAILED'}  {time.monotonic() - began:.1f} s")
    return None if status == 0 else tail(log)


# ---- running one ----


def tail(path):
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-TAIL:])


def without_randomised_addresses():
    """TSan of this age gives up on kernels that randomise addresses with many bits; not every container lets us turn it off."""
    probe = ["setarch", "-R", "true"]
    return probe[:2] if shutil.which("setarch") and subprocess.call(probe, stderr=subprocess.DEVNULL) == 0 else []


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def execute(suite):
    """Runs the process; its exit code, or None if it had to be ended."""
    for stale in OUT.glob(f"{suite.stem}.*"):
        stale.unlink()
    env = dict(os.environ, **suite.env)
    for name, options in SANITIZERS.items():
        env[name] = options
    prefix = without_randomised_addresses() if suite.preset == "tsan" else []
    with open(suite.log, "wb") as out:
        process = subprocess.Popen([*prefix, *map(str, suite.command)], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process)
        try:
            return process.wait(suite.timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # pytest's faulthandler then says where it stood
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            return None
        finally:
            end_group(process)  # nothing that a test started outlives it
            process.wait()
            running.discard(process)


def read_report(path, outcome):
    """Adds the cases of a GoogleTest or junit report. False if there is none that can be read."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return False
    for case in cases:
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.fail(name)
        elif case.find("skipped") is not None or case.get("result") == "skipped":
            outcome.skipped += 1
            reason = case.find("skipped")
            outcome.notes.append(f"skipped {name}: {reason.get('message', '') if reason is not None else ''}")
        elif case.get("status") == "notrun":
            if not name.split(".", 1)[1].startswith("DISABLED_"):
                continue  # left out by the filter
            outcome.skipped += 1
            outcome.notes.append(f"skipped {name}: disabled")
        else:
            outcome.passed += 1
    return True


def run(suite):
    began = time.monotonic()
    status = execute(suite)
    outcome = Outcome()
    if suite.kind == "exit":
        if status == 0:
            outcome.passed = 1
        elif status is not None:
            outcome.fail(f"exit code {status}")
    else:
        reported = read_report(suite.report, outcome)
        nothing_ran = suite.kind == "pytest" and status == 5
        if nothing_ran and not suite.filtered:
            outcome.fail("no test was found")
        elif status is not None and not nothing_ran and (not reported or (status != 0 and outcome.failed == 0)):
            outcome.fail(f"exit code {status}, " + ("though no test failed" if reported else "without a report"))
    if status is None:
        outcome.fail(f"still running after {suite.timeout:.0f} s")

    counts = f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped"
    lines = [f"{suite.name:<40} {counts}  {time.monotonic() - began:.1f} s"]
    lines += [f"    {note}" for note in outcome.notes]
    if outcome.failed:
        lines += [f"    FAILED {problem}" for problem in outcome.problems]
        lines += [f"    the end of {suite.log.relative_to(ROOT)}:"]
        lines += [f"    | {line}" for line in tail(suite.log).splitlines()]
    if outcome.passed or outcome.failed or outcome.skipped:
        say("\n".join(lines))
    return outcome


def interrupted(number, _):
    for process in list(running):
        end_group(process)
    os._exit(128 + number)


def main():
    parser = argparse.ArgumentParser(prog="./dev test")
    parser.add_argument("--full", action="store_true", help="the long tests too")
    parser.add_argument("--preset", action="append", choices=PRESETS, help="only this build; may be repeated")
    parser.add_argument("filter", nargs="?", default="", help="only suites or tests whose names contain it")
    options = parser.parse_args()
    presets = options.preset or [p for p in PRESETS if options.filter not in PRESETS or p == options.filter]
    OUT.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)

    total = Outcome()
    # Side by side: what one has left to compile keeps the CPUs busy while another links.
    with ThreadPoolExecutor(len(PRESETS)) as pool:
        built = list(zip(list(presets), pool.map(build, presets)))
    for preset, problem in built:
        if problem is not None:
            say(problem)
            total.failed += 1
            presets.remove(preset)
    chosen = list(suites(presets, options.filter, options.full))
    with ThreadPoolExecutor(CPUS) as pool:
        outcomes = list(pool.map(run, (s for s in chosen if not s.alone)))
    outcomes += [run(s) for s in chosen if s.alone]

    for outcome in outcomes:
        total.passed += outcome.passed
        total.failed += outcome.failed
        total.skipped += outcome.skipped
    if total.passed + total.failed + total.skipped == 0:
        say(f"no suite and no test is named like '{options.filter}'")
        total.failed = 1
    say(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    strict = os.environ.get("CI") == "true" and total.skipped > 0
    sys.exit(1 if total.failed or strict else 0)


if __name__ == "__main__":
    main()
