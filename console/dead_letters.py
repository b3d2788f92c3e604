"""Dead letters: groups, one letter next to its error, and retry or delete with progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from console.web import see_other
from operations.dead_letters.delete import delete_letters
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.listing import group_letters, list_letters
from operations.dead_letters.redrive import redrive_letters
from operations.printable import age_text
from worker.errors import CliError, ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from console.jobs import Job
    from console.web import Call
    from operations.dead_letters.processing import Result

PAGE: Final = 200
"""Letters read for a page. SQS has no search: each is received and released again."""
ACTIONS: Final = ("retry", "delete")


class Selection(NamedTuple):
    """The letters that an action concerns: one by id, or a group by reason and command."""

    message_id: str
    reason: str
    command: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Selection:
        """Read the fields of a form or of a query.

        Raises:
            UsageError: they select nothing. All letters at once are selected by `user-worker dlq`.
        """
        chosen = cls(*(fields.get(name, "") for name in cls._fields))
        if not chosen.message_id and not (chosen.reason and chosen.command):
            raise UsageError("no dead letters selected", "choose a letter or a group")
        return chosen

    @property
    def filter(self) -> LetterFilter:
        """The filter of this selection."""
        if self.message_id:
            return LetterFilter.of(ids=[self.message_id])
        return LetterFilter.of(reasons=[self.reason], commands=[self.command])

    @property
    def title(self) -> str:
        """The selection in words, for the log and the list of actions."""
        if self.message_id:
            return f"dead letter {self.message_id}"
        return f"dead letters {self.reason} of {self.command}"

    @property
    def query(self) -> str:
        """The selection as the query of a URL."""
        return urlencode(self._asdict())


def page(call: Call) -> Response:
    """Show groups of the first letters, by reason and command."""
    listing = list_letters(call.console.aws, LetterFilter(), PAGE, once=True)
    groups = [(_aged(each, listing.now), each) for each in group_letters(listing.letters)]
    return call.page("dead_letters.html", groups=groups, listing=listing)


def group(call: Call) -> Response:
    """Show the letters of a group."""
    chosen = Selection.of(call.query)
    listing = list_letters(call.console.aws, chosen.filter, PAGE, once=True)
    rows = [(letter, age_text(letter.age(listing.now))) for letter in listing.letters]
    return call.page("letters.html", chosen=chosen, rows=rows, listing=listing)


def letter(call: Call) -> Response:
    """Show a letter next to the error of its validation."""
    chosen = Selection(str(call.path["message_id"]), "", "")
    wanted = LetterFilter.of(ids=[chosen.message_id], limit=1)
    listing = list_letters(call.console.aws, wanted, bodies=True)
    if not listing.letters:
        raise CliError("dead letter not found", "it may be in use, or gone", ExitCode.NEGATIVE)
    [found] = listing.letters
    return call.page("letter.html", chosen=chosen, letter=found, facts=found.facts(listing.now))


def confirm(call: Call) -> Response:
    """Ask whether to act on a selection."""
    action = call.query.get("action", "")
    if action not in ACTIONS:
        raise UsageError("unknown action", f"use one of {', '.join(ACTIONS)}")
    chosen = Selection.of(call.query)
    listing = list_letters(call.console.aws, chosen.filter, PAGE, once=True)
    redacted = sum(each.redacted for each in listing.letters)
    return call.page(
        "confirm.html", action=action, chosen=chosen, listing=listing, redacted=redacted
    )


def retry(call: Call) -> Response:
    """Send the selected letters back to their queues."""
    chosen = Selection.of(call.form)

    def work(job: Job) -> str:
        done = redrive_letters(call.console.aws, chosen.filter, progress=job)
        if done.too_large:
            job.note(f"{done.too_large} were left: there is no room to state their sender")
        return _ended(done.result, "sent back", job)

    return _start(call, f"retry {chosen.title}", work)


def delete(call: Call) -> Response:
    """Delete the selected letters."""
    chosen = Selection.of(call.form)

    def work(job: Job) -> str:
        done = delete_letters(call.console.aws, chosen.filter, progress=job)
        return _ended(done, "deleted", job)

    return _start(call, f"delete {chosen.title}", work)


def jobs(call: Call) -> Response:
    """Show the actions of this console, newest first."""
    return call.page("jobs.html", jobs=call.console.jobs.all())


def job(call: Call) -> Response:
    """Show an action and its progress."""
    return call.page("job.html", job=_job(call))


def job_part(call: Call) -> Response:
    """Return the part of the page that is renewed."""
    return call.page("job_part.html", job=_job(call))


def _job(call: Call) -> Job:
    found = call.console.jobs.get(str(call.path["job_id"]))
    if found is None:
        advice = "the console keeps actions in memory only; see the log"
        raise CliError("action not found", advice, ExitCode.NEGATIVE)
    return found


def _start(call: Call, title: str, work: Any) -> Response:
    started = call.console.jobs.start(title, call.person, work)
    return see_other(f"/jobs/{started.job_id}")


def _aged(group_: Any, now: float) -> str:
    return age_text(max(0.0, now - group_.oldest))


def _ended(result: Result, what: str, job: Job) -> str:
    """Return the result in a sentence, and note what was left."""
    notes = (
        (result.behind, f"{result.behind} are behind others of their FIFO group"),
        (result.unseen, f"{result.unseen} were in use elsewhere, and were not read"),
        (result.full, "too many other letters are in front: those behind them were not read"),
        (result.endless, "stopped, because letters keep arriving"),
    )
    for happened, text in notes:
        if happened:
            job.note(text)
    return f"{result.done} dead letters {what}"
