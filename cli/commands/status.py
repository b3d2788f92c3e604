"""`user-worker status`: show the state of queues, topics, table and outbox."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from cli import composition, output
from cli.commands.base import EXIT_CODES, OPERATE, Json, app
from operations.printable import counted, printable
from worker.errors import CliError, ExitCode

_MISSING = Text("missing", style="red")


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def status(as_json: Json = False) -> int:
    """Show waiting messages, dead letters and missing resources.

    The exit code is 3 if a resource is missing; see also `user-worker doctor`.

    \b
    [bold]Examples[/bold]
      user-worker status --json | jq .dead_letters
    """
    from operations.status import read_status

    aws = composition.aws()
    found = read_status(aws)
    if as_json:
        output.print_json(found)
    else:
        output.stdout().print(output.pairs(_lines(found)))
    if found["missing"]:
        advice = "create them with `user-worker provision`, or correct the settings or the region"
        if aws.settings.env == "prod":  # where that refuses
            advice = "correct the settings or the region; run `user-worker doctor` for details"
        raise CliError(f"missing: {', '.join(found['missing'])}", advice)
    return ExitCode.OK


def _lines(found: dict[str, Any]) -> dict[str, object]:
    lines: dict[str, object] = {"AWS": f"{found['endpoint']} ({found['region']})"}
    names = found["names"]
    for queue, counts in found["command_queues"].items():
        lines[f"queue {queue}"] = _queue_text(counts, highlight=False)
    for queue in ("dead_letters", "quarantine"):
        lines[names[queue]] = _queue_text(found[queue], highlight=True)
    for key in ("topic", "personal_topic"):
        topic = found[key]
        count = _MISSING if topic is None else counted(topic["subscriptions"], "subscription")
        lines[names[key]] = count
    lines[names["table"]] = _MISSING if found["table"] is None else found["table"]
    if found["outbox"] is not None:
        lines["outbox"] = _outbox_text(found["outbox"])
    return lines


def _queue_text(counts: dict[str, int] | str | None, *, highlight: bool) -> Text:
    if counts is None:
        return _MISSING
    if isinstance(counts, str):
        return Text(counts, style="dim")
    text = f"{counts['visible']} waiting, {counts['in_flight']} in flight"
    if counts["delayed"]:
        text += f", {counts['delayed']} delayed"
    return Text(text, style="yellow" if highlight and any(counts.values()) else "")


def _outbox_text(outbox: dict[str, Any]) -> Text:
    text = f"{outbox['pending']} pending"
    if outbox["oldest"]:
        text += f", the oldest for {outbox['oldest_seconds']:g} s"
    if outbox["scheduled"]:
        text += f", {counted(outbox['scheduled'], 'final scrub')} scheduled"
    if outbox["parked"]:
        reasons = sorted({printable(entry["reason"]) for entry in outbox["parked"]})
        text += f", {len(outbox['parked'])} parked ({'; '.join(reasons)})"
    if outbox["unreadable"]:
        text += f", {outbox['unreadable']} unreadable"
    return Text(text, style="yellow" if outbox["parked"] or outbox["unreadable"] else "")
