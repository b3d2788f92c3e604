"""The short form of `make chaos`: real workers, attacked for half a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.run import Options, run

SEED = 1
SECONDS = 25.0


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.localstack
@pytest.mark.timeout(240)
def test_workers_that_are_killed_frozen_and_cut_off_lose_nothing_and_double_nothing(
    aws_endpoint: str, tmp_path: Path
) -> None:
    """With every kind of attack on three workers under load, the checker has no findings."""
    options = Options(aws_endpoint, tmp_path / "chaos", SEED, SECONDS, patience=120)
    verdict = run(options, print)
    text = "\n".join(report.lines(verdict.history, verdict.findings))
    found = "\n".join(map(str, verdict.findings))
    assert not verdict.findings, f"seed {SEED}, history in {options.folder}:\n{text}\n{found}"
    assert len({fault.kind for fault in verdict.history.faults if fault.hits}) >= 10, text
    assert any(line.row["outcome"] == "duplicate" for line in verdict.history.commands()), text
