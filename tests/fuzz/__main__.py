"""Coverage-guided fuzzing by atheris (libFuzzer): `make fuzz`, or `python -m tests.fuzz --help`.

Each surface is fuzzed in a process of its own, for a number of bodies or of seconds, whichever
ends first. Bytes that show a bug are kept in build/fuzz/, and `--replay FILE` runs them again,
without atheris.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
FOUND: Final = ROOT / "build" / "fuzz"
SURFACES: Final = ("messages", "commands", "batches", "items", "command-line")
MAX_LENGTH: Final = 1500
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")
_WORDS = ("specversion", "biome.user.", "headers", "Message", "TopicArn", '"data":{', '"body":"',
          "password", "token", "hash", "[[],{},{}]", "\\\\u0000", "\\\\ud800", "e30=")  # fmt: skip
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nothing listens there
}


@dataclass(frozen=True, slots=True)
class Result:
    """Result of fuzzing one surface."""

    surface: str
    bodies: int
    seconds: float
    covered: int
    code: int

    def row(self) -> str:
        """Return the line of the table."""
        rate = self.bodies / max(self.seconds, 1)
        found = "nothing" if self.code == 0 else "A BUG"
        return (
            f"{self.surface:14}{self.bodies:>12,}{self.seconds:>9.0f}{rate:>11,.0f}"
            f"{self.covered:>11,}   {found}"
        )


def fuzz_here(surface: str, arguments: list[str]) -> None:
    """Fuzz one surface in this process, until libFuzzer ends it."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(
        include=["domain", "application", "adapters", "worker", "operations", "cli"]
    ):
        surfaces = importlib.import_module("tests.fuzz.surfaces")
    atheris.Setup([sys.argv[0], *arguments], surfaces.SURFACES[surface])
    atheris.Fuzz()


def fuzz(surface: str, runs: int, seconds: int, seed: int) -> Result:
    """Fuzz one surface in a separate process."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        _plant(corpus, surface)
        words.write_text(
            "".join(f'"{word.replace(chr(34), chr(92) + chr(34))}"\n' for word in _WORDS)
        )
        command = [sys.executable, "-m", "tests.fuzz", "--child", surface,
                   f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}",
                   f"-max_len={MAX_LENGTH}", f"-dict={words}", "-timeout=20", "-rss_limit_mb=2048",
                   f"-artifact_prefix={FOUND}/{surface}-", str(corpus)]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True
        )
    told = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    bodies = _DONE.findall(told)
    covered = _COVERED.findall(told)
    if done.returncode or not bodies:
        sys.stderr.write(told[-6000:])
    counted = re.findall(r"^#(\d+)", told, re.MULTILINE)
    return Result(
        surface,
        int(bodies[-1][0]) if bodies else int(counted[-1]) if counted else 0,
        time.monotonic() - began,
        int(covered[-1][1]) if covered else 0,
        done.returncode or int(not bodies),
    )


def _plant(corpus: Path, surface: str) -> None:
    bodies = importlib.import_module("tests.fuzz.bodies")
    if surface == "messages":
        for number, seed in enumerate(bodies.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    (corpus / "zeros").write_bytes(bytes(64))
    (corpus / "counting").write_bytes(bytes(range(256)))


def main() -> int:
    """Fuzz as the arguments say; return 1 if a bug was found."""
    if sys.argv[1:2] == ["--child"]:
        fuzz_here(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("surface", nargs="*", metavar="SURFACE", help=", ".join(SURFACES))
    parser.add_argument("--runs", type=int, default=10_000_000, help="bodies for each, at most")
    parser.add_argument("--seconds", type=int, default=60, help="seconds for each, at most")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same start")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run kept bytes again")
    options = parser.parse_args()
    chosen = options.surface or SURFACES
    if unknown := set(chosen) - set(SURFACES):
        parser.error(f"there is no surface {min(unknown)}: {', '.join(SURFACES)}")
    if options.replay:
        os.environ.update(ENVIRONMENT)
        surfaces = importlib.import_module("tests.fuzz.surfaces")
        surfaces.SURFACES[chosen[0]](options.replay.read_bytes())
        return 0
    heads = "surface", "bodies", "seconds", "bodies/s", "features", "found"
    sys.stdout.write("{:14}{:>12}{:>9}{:>11}{:>11}   {}\n".format(*heads))
    results = []
    for surface in chosen:
        results.append(fuzz(surface, options.runs, options.seconds, options.seed))
        sys.stdout.write(results[-1].row() + "\n")
        sys.stdout.flush()
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
