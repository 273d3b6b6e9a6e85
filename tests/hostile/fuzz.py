"""`python -m tests.hostile.fuzz`: atheris on every parser, each in a process of its own for so many seconds.

As many of them run side by side as there are cores.

atheris follows which branches an input takes and changes inputs until new ones are taken. Whatever comes out
of a parser undeclared is a finding, told with its bytes. Prints a table and writes it to
docs/security-fuzz.md. 1 when something was found, or atheris is not there.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

REPORT = Path(__file__).parents[2] / "docs" / "security-fuzz.md"
START_SECONDS = 600  # imports and instruments our rooms, on a busy machine
MISSING = (
    "atheris is not installed. It has wheels for Linux on x86-64 and Python 3.11 to 3.14: "
    "uv pip install --python .venv/bin/python atheris"
)
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERED = re.compile(r"cov: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What became of one parser."""

    name: str
    executions: int
    branches: int
    finding: str | None


def play(name: str, seconds: int, artifacts: Path) -> Outcome:
    """One parser in a process of its own."""
    options = ["--child", name, "--seconds", str(seconds), "--artifacts", str(artifacts)]
    process = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", *options],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + START_SECONDS,
        check=False,
    )
    executed, covered = _EXECUTED.findall(process.stderr), _COVERED.findall(process.stderr)
    finding = None
    if process.returncode:
        lines = [line for line in (process.stdout + process.stderr).splitlines() if line.strip()]
        marks = [number for number, line in enumerate(lines) if "Uncaught Python exception" in line]
        begin = marks[0] if marks else max(0, len(lines) - 20)
        finding = "\n".join(lines[begin : begin + 20])
    return Outcome(name, int((executed or [0])[-1]), int((covered or [0])[-1]), finding)


def child(name: str, seconds: int, artifacts: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["api", "detector"], enable_loader_override=False):
        from tests.hostile.parsers import PARSERS
    (parser,) = [one for one in PARSERS if one.name == name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(parser.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        flags = [
            f"-max_total_time={seconds}",
            "-print_final_stats=1",
            "-max_len=4096",
            "-rss_limit_mb=4096",
            "-timeout=10",
            f"-artifact_prefix={artifacts}/",
        ]
        atheris.Setup([sys.argv[0], *flags, folder], parser.run)
        atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--only", help="the parsers whose names contain this")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--artifacts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    console = Console(width=120)
    if importlib.util.find_spec("atheris") is None:
        console.print(MISSING)
        return 1
    if options.child:
        child(options.child, options.seconds, options.artifacts)
    from tests.hostile.parsers import PARSERS

    names = [one.name for one in PARSERS if not options.only or options.only in one.name]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(lambda name: play(name, options.seconds, Path(folder)), names):
            outcomes.append(outcome)
            verdict = "found something" if outcome.finding else "nothing found"
            console.print(f"{outcome.name}: {outcome.executions} executions, {verdict}", highlight=False)
        kept = sorted(Path(folder).glob("crash-*")) + sorted(Path(folder).glob("timeout-*"))
        inputs = [f"{path.name}: {path.read_bytes()[:300]!r}" for path in kept]
    found = [outcome for outcome in outcomes if outcome.finding]
    total = sum(outcome.executions for outcome in outcomes)
    lines = [
        "# atheris on every parser",
        "",
        f"`python -m tests.hostile.fuzz --seconds {options.seconds}`, {datetime.now(UTC):%Y-%m-%d}, "
        f"atheris {version('atheris')}: {total} executions of {len(outcomes)} parsers, "
        f"{len(found)} of which raised what they do not declare.",
        "",
        "| parser | executions | edges taken |",
        "|---|---|---|",
        *(f"| {outcome.name} | {outcome.executions} | {outcome.branches} |" for outcome in outcomes),
        *(f"\n## {one.name}\n\n```\n{one.finding}\n```" for one in found),
        *(f"\n    {text}" for text in inputs),
    ]
    options.report.write_text("\n".join(lines) + "\n")
    for outcome in found:
        console.print(f"== {outcome.name}\n{outcome.finding}", markup=False)
    for text in inputs:
        console.print(text, markup=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
