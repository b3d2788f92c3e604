"""`user-worker leftovers`: queues and subscriptions that a killed process has left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cli import composition, output
from cli.ages import age_text, seconds_of
from operations.orphaned_queues import PATIENCE, Leftovers, TemporaryQueue
from worker.errors import ExitCode


@dataclass(frozen=True, slots=True)
class _Removed:
    queues: int
    subscriptions: int


def show_leftovers(*, older_than: str, remove: bool, as_json: bool) -> int:
    """List temporary queues of some age, or remove those that nobody reads; give the exit code.

    Raises:
        UsageError: the age is none.
    """
    least = seconds_of("--older-than", older_than)
    aws = composition.aws()
    leftovers, now = Leftovers(aws.sqs, aws.sns), time.time()
    old = [queue for queue in leftovers.queues() if now - queue.made_at >= least]
    if remove:
        return _report(_remove(aws, leftovers, old), as_json=as_json)
    if as_json:
        rows = ({**asdict(queue), "age_seconds": round(now - queue.made_at)} for queue in old)
        sys.stdout.writelines(output.json_line(row) + "\n" for row in rows)
    else:
        _list(old, older_than, now)
    return ExitCode.OK


def _list(old: Sequence[TemporaryQueue], older_than: str, now: float) -> None:
    console = output.stdout()
    if old:
        table = output.plain_table("queue", "age", "waiting")
        for queue in old:
            table.add_row(queue.name, age_text(now - queue.made_at), str(queue.waiting))
        console.print(table)
        output.stderr().print("--remove removes those that nobody reads", style="dim")
    else:
        console.print(f"no temporary queue is older than {older_than}", markup=False)


def _remove(aws: composition.Aws, leftovers: Leftovers, old: Sequence[TemporaryQueue]) -> _Removed:
    # before the queues are looked at again: what is subscribed now has a queue, or had one
    subscriptions = leftovers.subscriptions(aws.topic_arn)
    if old:
        text = f"waiting {PATIENCE:.0f} s to see which of {len(old)} queues somebody reads"
        output.stderr().print(text, style="dim")
    unread = leftovers.unread(old)
    for queue in unread:
        leftovers.unsubscribe(filter(None, [subscriptions.pop(queue.arn, None)]))
        leftovers.remove(queue)
    orphans = leftovers.orphans(subscriptions, aws.command_queue_arn)
    leftovers.unsubscribe(orphans.values())
    return _Removed(len(unread), len(orphans))


def _report(removed: _Removed, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(output.json_line(asdict(removed)) + "\n")
    else:
        text = f"removed {removed.queues} queues that nobody read"
        if removed.subscriptions:
            text += f", and {removed.subscriptions} subscriptions without a queue"
        output.stdout().print(text)
    return ExitCode.OK
