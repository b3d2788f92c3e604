"""What `send` reads from a file or standard input, in the encodings that systems write."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.commands.send import _events
from operations.command_input import Options
from tests.builders import uid
from worker.errors import UsageError

COMMANDS = [
    {"type": "UnbanUser", "user_id": uid("ada")},
    {"type": "UnbanUser", "user_id": uid("Zoë")},
]


def events(file: str) -> list[dict[str, Any]]:
    """Return the commands in a file."""
    return [event for _, event in _events(None, (), None, file, Options())]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("standard_input", [True, False])
def test_a_byte_order_mark_or_utf_16_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    end: str,
    *,
    standard_input: bool,
) -> None:
    """Windows writes them. Tested with one command, several lines and an array."""
    lines = "".join(json.dumps(each) + end for each in COMMANDS)
    for text, count in ((json.dumps(COMMANDS[0]), 1), (lines, 2), (json.dumps(COMMANDS), 2)):
        path = tmp_path / "commands.jsonl"
        path.write_bytes(text.encode(encoding))
        if standard_input:
            stream = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
            monkeypatch.setattr(sys, "stdin", stream)
        found = events("-" if standard_input else str(path))
        assert [event["subject"] for event in found] == [each["user_id"] for each in COMMANDS][
            :count
        ]


def test_a_mark_between_files_that_were_put_together_is_ignored(tmp_path: Path) -> None:
    """`copy /b one.jsonl+two.jsonl` leaves it there."""
    path = tmp_path / "commands.jsonl"
    path.write_text("".join(f"\ufeff{json.dumps(each)}\n" for each in COMMANDS) + "\ufeff\n")
    assert len(events(str(path))) == 2


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"\xe4", b"{\x00}\x00\x00"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    """The line names the file, and none of its content."""
    path = tmp_path / "commands.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"commands\.jsonl"):
        events(str(path))
