"""The results of the benchmark as files: figures as JSON, and the files rendered from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import plot, report, summary
from benchmarks.lineup import HERE
from benchmarks.measuring import Idle, Result
from benchmarks.sections import Section

RESULTS = HERE / "results"
"""The committed run."""
FIGURES, TABLE, SUMMARY, PICTURE = "results.json", "results.md", "summary.md", "throughput.svg"


def write_results(folder: Path, about: dict[str, Any], sections: Sequence[Section]) -> None:
    """Write the figures, and the tables and the picture that are rendered from them."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"about": about, "sections": [asdict(section) for section in sections]}
    (folder / FIGURES).write_text(json.dumps(raw, indent=1) + "\n")
    for name, text in rendered(about, sections).items():
        (folder / name).write_text(text)


def read_results(folder: Path = RESULTS) -> tuple[dict[str, Any], list[Section]]:
    """Return place and time of a run, and its sections.

    Raises:
        OSError: The file cannot be read.
    """
    raw = json.loads((folder / FIGURES).read_text())
    sections = [
        Section(
            **{
                **section,
                "results": [Result(**result) for result in section["results"]],
                "idle": [Idle(**idle) for idle in section["idle"]],
            }
        )
        for section in raw["sections"]
    ]
    return raw["about"], sections


def rendered(about: dict[str, Any], sections: Sequence[Section]) -> dict[str, str]:
    """Return the text of each file that is rendered from the figures, by name."""
    return {
        TABLE: report.render(about, sections),
        SUMMARY: summary.render(about, sections),
        PICTURE: plot.render(sections),
    }
