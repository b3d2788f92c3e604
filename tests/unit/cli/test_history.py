"""`user-worker user USER --history`, on a store in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.memory import MemoryOutbox, MemoryStore, MemoryUserRepository
from application.repository import BannedAddress, UserChange
from cli import composition
from cli.app import run
from domain.errors import RejectionCode
from tests.builders import NOW, uid
from tests.persistence import (
    Store,
    committed,
    erased,
    must_commit,
    outcome,
    registered,
    renamed,
    scrub,
)
from worker.errors import ExitCode
from worker.settings import Settings


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Ada, with a registration and four later commands, of which the last is rejected."""
    kept = MemoryStore()
    made = Store(MemoryUserRepository(kept), MemoryOutbox(kept))
    connections = SimpleNamespace(repository=made.repository, settings=Settings())
    monkeypatch.setattr(composition, "aws", lambda: connections)
    must_commit(made, registered("ada"))
    for n in range(1, 5):
        code = RejectionCode.VERSION_CONFLICT if n == 4 else None
        decided = outcome(f"command {n}", "ada", code=code)
        must_commit(made, later(decided, n))
    return made


def later(decided: Any, seconds: int) -> UserChange:
    """Record an outcome `seconds` after NOW."""
    return UserChange(uid("ada"), (replace(decided, recorded_at=NOW + timedelta(seconds=seconds)),))


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_history_starts_with_time_source_and_actor(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    """These three facts answer the first questions about a decision."""
    monkeypatch.setenv("COLUMNS", columns)
    decided = replace(outcome("by support", "ada"), source="/back-office", actor="support/7")
    must_commit(store, later(decided, 9))

    assert run(["user", uid("ada"), "--history"]) == ExitCode.OK

    lines = capsys.readouterr().out.splitlines()
    (place,) = (n for n, line in enumerate(lines) if line.startswith("recorded"))
    assert lines[place].split()[:3] == ["recorded", "sent", "by"]
    first = " ".join(lines[place + 1 : place + 3])
    assert first.split()[0].startswith("2026-11-22")
    assert "/back-office" in first
    assert "for support/7" in first


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Run it with `--json`; return the facts."""
    assert run(["user", uid("ada"), *words, "--json"]) == ExitCode.OK
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def ids(*names: str) -> list[str]:
    """Return the ids of commands."""
    return [uid(name) for name in names]


@pytest.mark.usefixtures("store")
def test_a_history_can_be_read_page_by_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Latest first, without gaps or duplicates; each page says whether there are more."""
    pages: list[dict[str, Any]] = []
    before: list[str] = []
    goes_on = True
    while goes_on:
        page = shown(capsys, "--history", "--limit", "2", *before)
        goes_on = page["history_goes_on"]
        pages += page["history"]
        before = ["--before", pages[-1]["command_id"]]
    assert [each["command_id"] for each in pages] == [
        *ids("command 4", "command 3", "command 2", "command 1"),
        uid("register ada"),
    ]
    assert (pages[0]["status"], pages[0]["code"]) == ("rejected", "VersionConflict")
    assert [event["type"] for event in pages[-1]["events"]] == ["biome.user.UserRegistered.v1"]
    assert all(each["recorded_at"] for each in pages)


@pytest.mark.usefixtures("store")
def test_on_a_terminal_a_page_shows_how_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    """It shows what to type for the next page."""
    assert run(["user", uid("ada"), "--history", "--limit", "1"]) == ExitCode.OK
    told = capsys.readouterr()
    assert "rejected" in told.out
    assert f"--before {uid('command 4')}" in told.err


@pytest.mark.usefixtures("store")
def test_the_history_is_shown_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """A history costs reads."""
    assert "history" not in shown(capsys)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("before", ["nonsense", uid("of nobody")])
def test_a_command_to_go_on_from_has_to_be_that_users(
    capsys: pytest.CaptureFixture[str], before: str
) -> None:
    """The exit code is 2."""
    assert run(["user", uid("ada"), "--before", before]) == ExitCode.USAGE
    assert "--before" in capsys.readouterr().err


def test_an_erased_persons_history_has_no_personal_data(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened stays; who the user was does not."""
    user = committed(store, "grace")
    change = renamed(user)
    assert change.user is not None
    tombstone = replace(change.user, erased=True, email=None, first_name="", last_name="")
    must_commit(store, replace(change, user=tombstone, released=user.email))
    scrub(store.outbox, uid("grace"))
    assert run(["user", uid("grace"), "--history", "--json"]) == ExitCode.OK
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert (facts["erased"], len(facts["history"])) == (True, 2)
    assert "grace@" not in out
    assert run(["user", "grace@example.com", "--history"]) == ExitCode.NEGATIVE
    assert "for an erased user, use the id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("until", "shown"), [(None, "permanently"), (NOW + timedelta(days=36500), "until 2126-10-29")]
)
def test_the_ban_of_an_unknown_address_is_shown(
    store: Store, capsys: pytest.CaptureFixture[str], until: datetime | None, shown: str
) -> None:
    """With the id that UnbanUser needs; support knows only the address."""
    hashed = Settings().hash_key_ring.address_hash("grace@example.com")
    user = committed(store, "grace")
    must_commit(store, erased(user, BannedAddress(hashed, uid("grace"), until)))
    assert run(["user", "Grace@example.com"]) == ExitCode.NEGATIVE
    err = capsys.readouterr().err
    assert shown in err
    assert uid("grace") in err
    assert "UnbanUser" in err
    assert run(["user", uid("grace"), "--json"]) == ExitCode.OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["erased"], facts["banned"], facts["ban_reason"]) == (True, True, None)


@pytest.mark.usefixtures("store")
def test_without_keys_an_unknown_address_is_not_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator need not have the keys in production; the line names the setting."""
    monkeypatch.setattr(composition.aws(), "settings", Settings(env="prod"))
    assert run(["user", "grace@example.com"]) == ExitCode.NEGATIVE
    assert "USER_WORKER_HASH_KEYS" in capsys.readouterr().err
