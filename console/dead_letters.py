"""Dead letters: groups, one letter next to its error, and retry, correct or delete."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from application.batch import (
    CONTENDED,
    THROTTLED,
    UNAVAILABLE,
    UNFORESEEN,
    UNKNOWN_TYPE,
    UNKNOWN_USER,
    UNREADABLE,
)
from application.batch_results import OTHER_FIRST, REUSED_ID
from application.messages import MalformedCode, MessageParser, Redactor
from application.messages.redaction import described
from application.permissions import NOT_PERMITTED
from console.jobs import Job
from console.letters import LetterShelf
from console.web import Call, see_other
from domain.commands import COMMANDS
from operations.dead_letters.delete import delete_letters
from operations.dead_letters.edit import (
    check_correction,
    has_placeholders,
    parse_correction,
    send_correction,
)
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import BY_SQS, Letter
from operations.dead_letters.letter import UNREADABLE as UNREADABLE_COMMAND
from operations.dead_letters.listing import Listing, group_letters
from operations.dead_letters.redrive import redrive_letters
from operations.presentation import is_id
from operations.printable import age_text, counted, readable
from worker.errors import CliError, ExitCode, UsageError

ACTIONS: Final = ("retry", "delete")
SHOWN_GROUPS: Final = 500
"""Maximum number of groups of a page, the largest first; anyone may have written the reasons."""
REASONS: Final = frozenset(
    {
        *(BY_SQS, NOT_PERMITTED, UNKNOWN_TYPE, REUSED_ID.code, OTHER_FIRST.code),
        *map(str, MalformedCode),
        *(UNAVAILABLE.code, THROTTLED.code, CONTENDED.code, UNFORESEEN.code, UNREADABLE.code),
        UNKNOWN_USER.code,
    }
)
"""Reasons that a worker writes. Any other one may be personal data, and is not logged."""
COMMAND_NAMES: Final = frozenset({UNREADABLE_COMMAND, *(c.__name__ for c in COMMANDS.values())})


class Selection(NamedTuple):
    """The letters that an action concerns: one by id, or a group by reason and command."""

    message_id: str
    reason: str
    command: str

    @classmethod
    def of(cls, call: Call) -> Selection:
        """Return what the address or the form of a request selects; a group is named by its key.

        Raises:
            UsageError: it selects nothing. All letters at once are selected by `user-worker dlq`.
            CliError: the group is not known.
        """
        fields = {**call.query, **call.form}
        if key := fields.get("group"):
            found = call.console.letters.group_of(key)
            if found is None:
                advice = "open the dead letters again, and choose a group"
                raise CliError("this console does not know the group", advice, ExitCode.NEGATIVE)
            return cls("", *found)
        message_id = fields.get("message_id", "")
        if not is_id(message_id):
            raise UsageError("no dead letters selected", "choose a letter or a group")
        return cls(message_id, "", "")

    @property
    def filter(self) -> LetterFilter:
        """The filter of this selection."""
        if self.message_id:
            return LetterFilter(ids=[self.message_id])
        return LetterFilter(reasons=[self.reason], commands=[self.command])

    @property
    def shown(self) -> str:
        """The selection in words, for a page."""
        if self.message_id:
            return self.title
        return f"dead letters {self.reason} of {self.command}"

    @property
    def title(self) -> str:
        """The selection in words, for the log and the list of actions: without unknown texts."""
        if self.message_id:
            return f"dead letter {self.message_id}"
        reason = self.reason if self.reason in REASONS else described(self.reason)
        command = self.command if self.command in COMMAND_NAMES else described(self.command)
        return f"dead letters {reason} of {command}"

    def named(self, letters: LetterShelf) -> tuple[str, str]:
        """Return the name and the value that select it in an address or a form.

        Both are without any text of a letter.
        """
        if self.message_id:
            return "message_id", self.message_id
        return "group", letters.key_of(self.reason, self.command)

    def query(self, letters: LetterShelf) -> str:
        """Return the selection as the query of an address."""
        return urlencode([self.named(letters)])

    def of_listing(self, listing: Listing) -> list[Letter]:
        """Return the selected letters of a listing."""
        return self.filter.select(listing.letters, listing.now)


def page(call: Call) -> Response:
    """Show groups by reason and command: of the first letters, or of all that were counted."""
    shelf = call.console.letters
    listing, everything = shelf.first(call.console.aws), shelf.counted
    groups = group_letters(listing.letters) if everything is None else everything.groups
    shown = groups[:SHOWN_GROUPS]
    return call.page(
        "dead_letters.html",
        groups=[
            (
                age_text(max(0.0, time.time() - each.oldest)),
                Selection("", each.reason, each.command).query(shelf),
                each,
            )
            for each in shown
        ],
        more=len(groups) - len(shown),
        listing=listing,
        counted=everything,
        counted_at=everything and datetime.fromtimestamp(everything.at, UTC),
    )


def group(call: Call) -> Response:
    """Show the letters of a group, as far as they are among the first of the queue."""
    chosen = Selection.of(call)
    listing = call.console.letters.first(call.console.aws)
    letters = chosen.of_listing(listing)
    rows = [(letter, age_text(letter.age(listing.now))) for letter in letters]
    query = chosen.query(call.console.letters)
    return call.page("letters.html", chosen=chosen, query=query, rows=rows, listing=listing)


def letter(call: Call) -> Response:
    """Show a letter next to the error of its validation, and how it was retried."""
    chosen = Selection(str(call.path["message_id"]), "", "")
    found, redactor = _letter(call), _redactor(call)
    return call.page(
        "letter.html",
        query=chosen.query(call.console.letters),
        letter=found,
        facts=found.facts(time.time()),
        body=found.body(redactor),
        edited_from=found.edited_from,
        actions=[each for each in call.console.jobs.all() if each.subject in found.ids],
    )


def confirm(call: Call) -> Response:
    """Ask whether to act on a selection."""
    action = call.query.get("action", "")
    if action not in ACTIONS:
        raise UsageError("unknown action", f"use one of {', '.join(ACTIONS)}")
    chosen = Selection.of(call)
    listing = call.console.letters.first(call.console.aws)
    letters = chosen.of_listing(listing)
    if chosen.message_id and not letters:
        letters = [_letter(call, chosen.message_id)]
    return call.page(
        "confirm.html",
        action=action,
        chosen=chosen,
        named=chosen.named(call.console.letters),
        listing=listing,
        letters=letters,
        redacted=sum(each.redacted for each in letters),
    )


def retry(call: Call) -> Response:
    """Send the selected letters back to their queues."""
    chosen = Selection.of(call)

    def work(job: Job) -> str:
        done = redrive_letters(call.console.aws, chosen.filter, progress=job)
        if done.forecast:
            job.note(done.forecast)
        return f"{counted(done.result.done, 'dead letter')} sent back"

    return _start(call, f"retry {chosen.title}", chosen.message_id, work)


def delete(call: Call) -> Response:
    """Delete the selected letters."""
    chosen = Selection.of(call)

    def work(job: Job) -> str:
        done = delete_letters(call.console.aws, chosen.filter, progress=job)
        return f"{counted(done.result.done, 'dead letter')} deleted"

    return _start(call, f"delete {chosen.title}", chosen.message_id, work)


def count(call: Call) -> Response:
    """Read all letters, and show the size of each group afterwards."""

    def work(job: Job) -> str:
        done = call.console.letters.count(call.console.aws, job)
        return f"{counted(done.letters, 'dead letter')} in {counted(len(done.groups), 'group')}"

    started = call.console.jobs.start("count all dead letters", call.person, work)
    return see_other(f"/jobs/{started.job_id}")


def edit(call: Call) -> Response:
    """Show the form in which a letter's command is corrected."""
    found = _letter(call)
    return _edit_form(call, found, readable(found.body(_redactor(call))), None)


def send_edited(call: Call) -> Response:
    """Send the corrected command in place of the letter; show an invalid one again."""
    text, message_id = call.form.get("command", ""), str(call.path["message_id"])
    aws, person = call.console.aws, call.person
    try:
        event = parse_correction(text)
        if not has_placeholders(event):
            check_correction(event, MessageParser(aws.settings.roles))
    except UsageError as error:
        return _edit_form(call, _letter(call), text, str(error))

    def work(job: Job) -> str:
        send_correction(aws, message_id, event, person, job)
        return "the corrected command was sent, and its letter deleted"

    return _start(call, f"correct dead letter {message_id}", message_id, work)


def jobs(call: Call) -> Response:
    """Show the actions of this console, newest first."""
    return call.page("jobs.html", jobs=call.console.jobs.all())


def job(call: Call, template: str = "job.html") -> Response:
    """Show an action and its progress, or the part of the page that is renewed."""
    found = call.console.jobs.get(str(call.path["job_id"]))
    if found is None:
        advice = "the console keeps actions in memory only; see the log"
        raise CliError("action not found", advice, ExitCode.NEGATIVE)
    return call.page(template, job=found)


def _letter(call: Call, message_id: str | None = None) -> Letter:
    wanted = message_id or str(call.path["message_id"])
    found = call.console.letters.find(call.console.aws, wanted)
    if found is None:
        raise CliError(
            "dead letter not found among the first of the queue",
            f"it may be in use, or gone; `user-worker dlq show {wanted}` searches all letters",
            ExitCode.NEGATIVE,
        )
    return found


def _redactor(call: Call) -> Redactor:
    return Redactor(call.console.aws.settings.roles)


def _edit_form(call: Call, found: Letter, text: str, problem: str | None) -> Response:
    return call.page(
        "edit.html", 200 if problem is None else 400, letter=found, text=text, problem=problem
    )


def _start(call: Call, title: str, subject: str, work: Callable[[Job], str]) -> Response:
    letters = call.console.letters

    def work_and_forget(job: Job) -> str:
        try:
            return work(job)
        finally:
            letters.forget()

    started = call.console.jobs.start(title, call.person, work_and_forget, subject)
    return see_other(f"/jobs/{started.job_id}")
