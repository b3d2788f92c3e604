"""`user-worker dlq list` and `show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from cli import composition
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.listing import list_letters
from tests.unit.cli.dlq_world import World, command, mocked
from worker.errors import ExitCode

SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def _aws() -> Iterator[None]:
    """An AWS in this process, for all tests."""
    with mocked():
        yield


@pytest.fixture
def world(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """Standard queues."""
    return World(capsys, monkeypatch)


def test_letters_are_counted_by_reason_and_command_and_stay(world: World) -> None:
    """The largest group is first; dead letters that SQS moved have the reason `BySqs`."""
    bodies = [world.letter("NotJson", "{")["body"] for _ in range(12)]
    bodies += [world.letter("InvalidField")["body"], world.letter(None)["body"]]

    done = world.dlq("list", "--json")

    assert done.code == ExitCode.OK
    assert [(row["reason"], row["command"], row["letters"]) for row in done.rows] == [
        ("NotJson", "-", 12),
        ("BySqs", "UnbanUser", 1),
        ("InvalidField", "UnbanUser", 1),
    ]
    assert sorted(world.dead()) == sorted(bodies)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--reason", "NotJson"], {"a", "b"}),
        (["--reason", "notjson", "-r", "BySqs"], {"a", "b", "d"}),
        (["--type", "BanUser"], {"b", "d"}),
        (["--type", "biome.user.unbanuser.v1"], {"a", "c"}),
        (["--reason", "NotJson", "--type", "BanUser"], {"b"}),
        (["--older-than", "1h"], set()),
        (["--newer-than", "1h"], {"a", "b", "c", "d"}),
        (["--older-than", "0s"], {"a", "b", "c", "d"}),
        (["--reason", "NoSuch"], set()),
    ],
)
def test_letters_are_chosen_by_reason_command_and_age(
    world: World, words: list[str], expected: set[str]
) -> None:
    """Every condition must be met; for several values of one condition, any of them."""
    ids = {
        world.letter("NotJson", command("UnbanUser"))["message_id"]: "a",
        world.letter("NotJson", command("BanUser"))["message_id"]: "b",
        world.letter("InvalidField", command("UnbanUser"))["message_id"]: "c",
        world.letter(None, command("BanUser"))["message_id"]: "d",
    }
    done = world.dlq("list", "--each", "--json", *words)
    assert {ids[row["message_id"]] for row in done.rows} == expected


def test_a_letter_is_found_by_any_of_its_ids(world: World) -> None:
    """The id of SQS, that of its first message, and that of the command."""
    letter = world.letter()
    world.letter()
    shown = world.dlq("show", letter["message_id"], "--json").rows[0]
    for name in ("command_id", "original_message_id"):
        again = world.dlq("show", shown[name], "--json").rows[0]
        assert again["message_id"] == letter["message_id"]
    assert shown["attributes"]["error_code"] == "NotJson"
    assert shown["queue"] == world.commands


@pytest.mark.parametrize("form", [["--json"], []])
def test_no_secret_is_shown_though_sqs_moved_the_body_as_it_was(
    world: World, form: list[str]
) -> None:
    """Neither of the body, nor of an attribute of its producer: its type and length are shown."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    letter = world.letter(None, command(password=SECRET, note="kept"))
    with_attribute = world.letter("NotJson", attributes={"api_key": SECRET, "traceparent": trace})
    for each in (letter, with_attribute):
        done = world.dlq("show", each["message_id"], *form)
        assert (done.code, f"[string of {len(SECRET)} characters]" in done.out) == (0, True)
        assert SECRET not in done.out + done.err
        assert (trace in done.out) is (each is with_attribute)
    everything = world.dlq("list", "--each", *form)
    assert SECRET not in everything.out + everything.err


def test_a_letter_cannot_steer_the_terminal(world: World) -> None:
    """Anyone may write to a queue."""
    letter = world.letter("Not\x09Json", "no JSON \u009b31m", detail="\u009b2J")
    for words in (["list"], ["list", "--each"], ["show", letter["message_id"]]):
        assert "\u009b" not in world.dlq(*words).out


@pytest.mark.parametrize("body", ["-", "[]", '"x"', "{", '{"type": 3}', "e30=", "null", "\ud7ff"])
def test_bodies_of_any_kind_are_listed_and_shown(world: World, body: str) -> None:
    """Malformed bodies are a common reason for dead letters."""
    letter = world.letter("NotJson", body)
    assert world.dlq("list", "--json").rows[0]["command"] == "-"
    assert world.dlq("show", letter["message_id"]).code == ExitCode.OK


def test_what_is_not_there_is_not_found(world: World) -> None:
    """The exit code is 1, as for every other command."""
    world.letter()
    done = world.dlq("show", str(uuid4()))
    assert (done.code, done.out) == (ExitCode.NEGATIVE, "")
    for words in (["redrive"], ["purge"]):
        assert world.dlq(*words, "--id", str(uuid4()), "--yes").code == ExitCode.NEGATIVE
    assert len(world.dead()) == 1


def test_letters_not_read_and_in_flight_at_others_are_reported(world: World) -> None:
    """Otherwise a part would look like the whole."""
    for _ in range(4):
        world.letter()
    world.sqs.receive_message(QueueUrl=world.urls[world.dead_letters], VisibilityTimeout=600)
    done = world.dlq("list", "--limit", "2", "--json")
    assert done.rows[0]["letters"] == 2
    assert "1 more is in flight at another consumer" in done.err
    assert "read 2 of about 3" in done.err


@pytest.mark.parametrize("age", ["3", "d", "3w", "-1s", "1.5h", "", "99999999999d"])
def test_an_invalid_age_is_refused_before_anything_is_read(world: World, age: str) -> None:
    """The error names the option and shows the format of an age."""
    done = world.dlq("list", "--older-than", age)
    assert done.code == ExitCode.USAGE
    assert "--older-than is not an age" in done.err


@pytest.mark.parametrize("reason", ["[/x]", "[red]", "[link=file:///]", "a]b["])
def test_a_reason_is_no_markup(world: World, reason: str) -> None:
    """Anyone may write a reason; it is neither interpreted as colour nor an internal error."""
    world.letter(reason)
    done = world.dlq("list")
    assert done.code == ExitCode.OK
    assert reason in done.out


def test_what_is_shown_is_what_is_there(world: World) -> None:
    """Text between colons is no emoji."""
    letter = world.letter("NotJson", detail="urn:id:7")
    shown = world.dlq("show", letter["message_id"]).out
    assert shown.count("urn:id:7") == 2
    assert "urn:id:7" in world.dlq("list", "--each").out


def test_bodies_are_not_kept_of_letters_that_are_counted(world: World) -> None:
    """50,000 bodies of 1 MiB would not fit into memory; their facts are kept."""
    body = command(note="x" * 1000)
    world.letter("NotJson", body, attributes={"team": "sign-up", "quarantined": "redacted"})
    seen = list_letters(composition.aws(), LetterFilter())
    [letter] = seen.letters
    assert (letter.stored.body, "team" in letter.stored.attributes) == ("", False)
    assert (letter.reason, letter.command, letter.redacted) == ("NotJson", "UnbanUser", True)
    assert letter.user_id == json.loads(body)["subject"]
