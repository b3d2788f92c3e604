"""`user-worker dlq list` and `dlq show`."""

from __future__ import annotations

import json
import sys

from cli import composition, output
from cli.ages import age_text
from cli.dead_letters.choice import LetterFilter
from cli.dead_letters.letter import Letter
from cli.dead_letters.reading import Seen, group_table, grouped, look, say_unseen
from worker.errors import CliError, ExitCode


def list_letters(choice: LetterFilter, *, most: int, each: bool, as_json: bool) -> int:
    """Print what lies in the dead-letter queue, by reason and command or one by one.

    Args:
        choice: which letters.
        most: how many to look at.
        each: one by one.
        as_json: for programs.
    """
    aws = composition.aws()
    seen = look(aws, choice, most)
    if as_json:
        rows = (
            [letter.facts(seen.now) for letter in seen.letters]
            if each
            else [group.facts() for group in grouped(seen.letters)]
        )
        sys.stdout.writelines(output.json_line(row) + "\n" for row in rows)
    elif seen.letters:
        _print(seen, each=each)
    else:
        what = "nothing there" if choice.is_everything else "none of them is meant"
        output.stdout().print(f"{seen.looked_at} dead letters looked at: {what}")
    say_unseen(aws, seen)
    return ExitCode.OK


def _print(seen: Seen, *, each: bool) -> None:
    console = output.stdout()
    if each:
        for letter in seen.letters:
            console.print(_line(letter, seen.now), markup=False)
    else:
        console.print(group_table(grouped(seen.letters), seen.now))
    console.print(f"\n{len(seen.letters)} of {seen.looked_at} dead letters looked at", style="dim")


def _line(letter: Letter, now: float) -> str:
    back = f"came back {letter.stored.redrives}x" if letter.stored.redrives else ""
    words = (
        letter.message_id,
        f"{age_text(letter.age(now)):>4}",
        letter.reason,
        letter.command,
        letter.stored.detail,
        back,
    )
    return output.printable("  ".join(word for word in words if word))


def show_letter(message_id: str, *, as_json: bool) -> int:
    """Print one letter, its attributes and its body, without secrets.

    Raises:
        CliError: it is not there.
    """
    aws = composition.aws()
    seen = look(aws, LetterFilter.of(ids=[message_id], limit=1), bodies=True)
    if not seen.letters:
        if seen.depth.hidden:
            say_unseen(aws, seen)
        advice = "`user-worker dlq list --each` has the ids of those that are"
        raise CliError("no such dead letter", advice, ExitCode.NEGATIVE)
    letter = seen.letters[0]
    if as_json:
        facts = letter.facts(seen.now)
        facts |= {"attributes": letter.attributes(), "body": letter.body}
        sys.stdout.write(output.json_line(facts) + "\n")
        return ExitCode.OK
    console = output.stdout()
    facts = {k: v for k, v in letter.facts(seen.now).items() if v not in {None, ""}}
    console.print(output.pairs(facts))
    if attributes := letter.attributes():
        console.print("\nattributes", style="bold")
        console.print(output.pairs(attributes))
    console.print("\nbody", style="bold")
    console.print(_readable(letter.body), markup=False)
    return ExitCode.OK


def _readable(body: str) -> str:
    """Write JSON in lines, and anything else as it is; nothing in it can steer a terminal."""
    try:
        return json.dumps(json.loads(body), indent=2)
    except (ValueError, RecursionError):
        return output.printable(body)
