"""The inbox of the Node subscriber: each event once, in order, and no gap unnoticed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


def event(user: str, sequence: int, name: str = "ProfileUpdated") -> dict[str, Any]:
    """Create an event of a user, with one id for each position in the history."""
    return {
        "id": f"{user} {sequence}",
        "subject": user,
        "sequence": f"{sequence:020d}",
        "type": f"biome.user.{name}.v1",
        "data": {},
        "afterwards": "added",
    }


HISTORY = [
    event(user, n) for user, length in (("a", 5), ("b", 3), ("c", 1)) for n in range(1, length + 1)
]


NODE = """
import { createInterface } from "node:readline";
const { Inbox } = await import(process.argv[1]);
const PATIENCE = 60;
for await (const line of createInterface({ input: process.stdin })) {
  let inbox = new Inbox(PATIENCE);
  const given = {};
  const note = ({ subject, sequence }) => (given[subject] ??= []).push(Number(sequence));
  for (const event of JSON.parse(line)) {
    const saved = JSON.stringify(inbox.state());
    if (event === "restart") inbox = new Inbox(PATIENCE, JSON.parse(saved));
    else if (event?.skip) inbox.skipTo(event.skip, event.to).forEach(note);
    else {
      try {
        inbox.take(event, 0).forEach(note);
      } catch (error) {
        const unchanged = saved === JSON.stringify(inbox.state());
        (given.errors ??= []).push(error.name + (unchanged ? "" : " changed"));
      }
    }
  }
  const gaps = [inbox.gaps(PATIENCE - 1), inbox.gaps(PATIENCE).sort()];
  console.log(JSON.stringify({ given, gaps, waiting: inbox.state().waiting.length }));
}
"""


def in_node(*scenes: list[Any]) -> list[dict[str, Any]]:
    """Play scenes in one Node process: events, restarts, skips; give what came of each."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE, str(EXAMPLES / "node" / "inbox.mjs")],
        input="\n".join(json.dumps(scene) for scene in scenes),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_in_node_any_order_with_repetitions_and_restarts_gives_the_history_once() -> None:
    """300 arrivals shuffled by one seed."""
    chance = random.Random(5)
    scenes = []
    for _ in range(300):
        scene: list[Any] = [*HISTORY, *chance.choices(HISTORY, k=8), "restart", "restart"]
        chance.shuffle(scene)
        scenes.append(scene)
    expected = {"given": {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3], "c": [1]}, "waiting": 0}
    for came in in_node(*scenes):
        assert came == {**expected, "gaps": [[], []]}


def test_in_node_gaps_erasures_and_malformed_events_are_as_in_python() -> None:
    """One scene for each."""
    gap = [event("a", n) for n in (1, 3, 4, 7)]
    erased = [event("a", 1), event("a", 3), event("a", 4, "UserErased"), event("a", 2)]
    malformed: list[Any] = [{}, [], "text", 1, None, {**event("a", 1), "sequence": "one"}]
    malformed += [{**event("a", 1), "data": None}, {**event("a", 1), "subject": 1}]
    answer = {"id": "x", "type": "t", "subject": "z", "data": {}}
    seen = in_node(
        gap, [*gap, {"skip": "a", "to": 6}, event("a", 2)], erased, [*malformed, answer, answer]
    )
    assert seen[0] == {"given": {"a": [1]}, "gaps": [[], ["a"]], "waiting": 3}
    assert seen[1] == {"given": {"a": [1, 7]}, "gaps": [[], []], "waiting": 0}
    assert seen[2] == {"given": {"a": [1, 4]}, "gaps": [[], []], "waiting": 0}
    assert seen[3]["given"] == {"errors": ["TypeError"] * len(malformed), "z": [None]}
