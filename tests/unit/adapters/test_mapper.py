from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from adapters.dynamodb import mapper, records
from adapters.dynamodb.formats import ItemFormat
from adapters.errors import MalformedItemError
from application.ports import JobKind, OutboxEntry
from application.repository import BannedAddress, Outcome
from domain.commands import StartSession
from domain.errors import InvalidValueError
from domain.fields import Items, fields_of
from domain.policy import MAX_LIVE_REFRESH_TOKENS
from domain.sessions import Session
from domain.user import TwoFactor, User
from domain.values import EmailAddress
from tests.builders import NOW, token, uid
from tests.persistence import BANNED, new_user, outcome, session, two_factor
from tests.unit.adapters import stored

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

USER_ID = uid("ada")


# --- laws ----------------------------------------------------------------------------------


@given(stored.users)
def test_a_user_reads_back_equal(user: User) -> None:
    """The item holds everything that the model holds."""
    assert mapper.parse_user(mapper.render_user(user)) == user


@given(stored.sessions)
def test_a_session_reads_back_equal(value: Session) -> None:
    """Like a user; its expiry has whole seconds."""
    assert mapper.parse_session(mapper.render_session(USER_ID, value)) == value


@given(stored.two_factors)
def test_a_second_factor_reads_back_equal(value: TwoFactor) -> None:
    """Like a user."""
    assert mapper.parse_two_factor(mapper.render_two_factor(USER_ID, value)) == value


@given(stored.emails)
def test_an_address_reads_back_its_owner(address: EmailAddress) -> None:
    """It is found by its key."""
    item = mapper.render_address(address, USER_ID)
    assert mapper.parse_address(item) == USER_ID
    assert item["pk"] == {"S": f"EMAIL#{address.key}"}


@given(stored.banned)
def test_a_banned_address_reads_back_equal(value: BannedAddress) -> None:
    """DynamoDB does not delete it before its end."""
    item = mapper.render_banned(value)
    assert mapper.parse_banned(item) == value
    if value.until is not None:
        assert int(item["expires_at"]["N"]) > value.until.timestamp()


@given(stored.outcomes)
def test_an_outcome_reads_back_equal(value: Outcome) -> None:
    """Including its events, with any JSON data."""
    value = replace(value, fingerprint=value.lasting_fingerprint)
    item = records.render_outcome(value)
    assert records.parse_outcome(item) == value
    assert records.outcome_key_of(item) == (value.user_id, value.command_id)


@given(stored.outcomes)
def test_a_reference_reads_back_as_the_outcome_without_its_events(value: Outcome) -> None:
    """It is enough to recognise a redelivery."""
    value = replace(value, fingerprint=value.lasting_fingerprint)
    read = records.parse_outcome(records.render_reference(value))
    assert read == replace(value, by_email=True).reference()


@given(stored.entries())
def test_a_pointer_reads_back_equal(value: OutboxEntry) -> None:
    """Including all commands that it names."""
    assert records.parse_entry(records.render_entry(value)) == value


@given(stored.users, stored.outcomes)
def test_nothing_is_stored_as_null_or_as_an_empty_set(user: User, decided: Outcome) -> None:
    """An absent value is an absent attribute."""
    for item in (mapper.render_user(user), records.render_outcome(decided)):
        assert {kind for value in item.values() for kind in value} <= {"S", "N", "BOOL", "L", "M"}


# --- the read contract ---------------------------------------------------------------------


def test_a_login_service_finds_what_it_needs_under_the_models_names() -> None:
    """The attributes of a user item have the names of the model's fields."""
    item = mapper.render_user(new_user("ada"))
    assert item == {
        "pk": {"S": f"USER#{USER_ID}"},
        "sk": {"S": "USER"},
        "schema": {"N": "1"},
        "user_id": {"S": USER_ID},
        "version": {"N": "1"},
        "created_at": {"S": "2026-11-22T10:00:00.000Z"},
        "updated_at": {"S": "2026-11-22T10:00:00.000Z"},
        "email": {"S": "ada@example.com"},
        "first_name": {"S": "Ada"},
        "last_name": {"S": "Lovelace"},
        "password_hash": {"S": new_user("ada").password_hash},
        "credential_version": {"N": "1"},
        "roles": {"L": [{"S": "customer"}]},
    }


def test_a_session_item_carries_what_index_and_ttl_want() -> None:
    """`refresh_family_hash` is the index's key, `expires_at` epoch seconds."""
    value = session("phone", used=2)
    item = mapper.render_session(USER_ID, value)
    assert item["refresh_family_hash"] == {"S": value.refresh_family_hash}
    assert item["expires_at"] == {"N": str(int(value.expires_at.timestamp()))}
    assert item["refresh_token_hashes"] == {"S": " ".join(value.refresh_token_hashes)}


def test_a_session_item_stays_under_a_kilobyte() -> None:
    """With the longest device label, four live tokens and all that a session may hold."""
    (methods,) = (field.rule for field in fields_of(StartSession) if field.name == "methods")
    assert isinstance(methods, Items)
    most = methods.max_items or 0
    longest = [f"{'m' * 7}{n}" for n in range(most)]
    for method in longest:
        assert methods.item.parse(method)
        with pytest.raises(InvalidValueError):
            methods.item.parse(f"{method}x")
    value = Session(
        USER_ID,
        token("family").stored,
        tuple(token(f"{n}").stored[:32] for n in range(MAX_LIVE_REFRESH_TOKENS)),
        NOW,
        replaced_token_hash=token("last").stored[:32],
        replaced_at=NOW,
        started_at=NOW,
        last_used_at=NOW,
        methods=tuple(longest),
        device="\N{EMOJI MODIFIER FITZPATRICK TYPE-6}" * 100,
        revision=10**6,
    )
    item = mapper.render_session(USER_ID, value)
    size = sum(len(name) + len(str(*each.values()).encode()) for name, each in item.items())
    assert size <= 1024


def test_only_outcomes_and_sessions_expire() -> None:
    """A user, an address or an entry with a TTL would disappear."""
    entry = OutboxEntry("OUTBOX#1", "2026-11-22T10:00:00.000Z#x", *_POINTER_REST)
    lasting = (
        mapper.render_user(new_user("ada")),
        mapper.render_two_factor(USER_ID, two_factor()),
        mapper.render_address(EmailAddress("a@example.com"), USER_ID),
        records.render_entry(entry),
    )
    assert not any("expires_at" in item for item in lasting)
    for decided in (outcome("c", "ada"), outcome("c", None)):
        assert records.render_outcome(decided)["expires_at"].keys() == {"N"}
        assert records.render_reference(decided)["expires_at"].keys() == {"N"}


def test_a_session_written_with_an_end_before_1970_is_read() -> None:
    """Earlier workers wrote such items, and their users must stay usable."""
    item = mapper.render_session(USER_ID, session("phone"))
    item["expires_at"] = {"N": "-86400"}
    assert mapper.parse_session(item).expires_at == datetime(1969, 12, 31, tzinfo=UTC)


_POINTER_REST = (JobKind.PUBLISH, (), new_user("ada").created_at)


# --- malformed items -----------------------------------------------------------------------


def rendered() -> dict[str, Item]:
    """Return an item of each kind, by kind."""
    entry = OutboxEntry("OUTBOX#1", "2026-11-22T10:00:00.000Z#x", *_POINTER_REST)
    return {
        "user": mapper.render_user(new_user("ada")),
        "session": mapper.render_session(USER_ID, session("phone")),
        "two factor": mapper.render_two_factor(USER_ID, two_factor()),
        "address": mapper.render_address(EmailAddress("a@example.com"), USER_ID),
        "banned address": mapper.render_banned(BANNED),
        "outcome": records.render_outcome(outcome("c", "ada")),
        "outbox pointer": records.render_entry(entry),
    }


PARSERS: dict[str, Any] = {
    "user": mapper.parse_user,
    "session": mapper.parse_session,
    "two factor": mapper.parse_two_factor,
    "address": mapper.parse_address,
    "banned address": mapper.parse_banned,
    "outcome": records.parse_outcome,
    "outbox pointer": records.parse_entry,
}
SECRET: Any = {"S": "SECRET"}
WRONG: list[tuple[str, str, Any]] = [
    *((kind, "schema", None) for kind in PARSERS),
    *((kind, "schema", {"N": "3"}) for kind in PARSERS),
    *((kind, "schema", {"N": "0"}) for kind in PARSERS),
    ("user", "user_id", None),
    ("user", "version", SECRET),
    ("user", "version", {"N": "-1"}),
    ("user", "version", {"N": "1.5"}),
    ("user", "created_at", SECRET),
    ("user", "created_at", {"S": "2026-11-22T10:00:00"}),
    ("user", "email", {"N": "12345"}),
    ("user", "email", {"NULL": True}),
    ("user", "first_name", None),
    ("user", "roles", SECRET),
    ("user", "roles", {"L": [{"N": "1"}]}),
    ("user", "email_verified", SECRET),
    ("user", "ban", SECRET),
    ("user", "locked_until", SECRET),
    ("session", "expires_at", SECRET),
    ("session", "expires_at", {"N": "99999999999999999"}),
    ("session", "expires_at", {"N": "--1"}),
    ("session", "refresh_family_hash", None),
    ("two factor", "secret_ciphertext", None),
    ("two factor", "revision", SECRET),
    ("address", "user_id", {"N": "1"}),
    ("address", "held", SECRET),
    ("banned address", "user_id", None),
    ("banned address", "until", SECRET),
    ("outbox pointer", "address", {"N": "1"}),
    ("outcome", "status", SECRET),
    ("outcome", "code", SECRET),
    ("outcome", "events", SECRET),
    ("outcome", "events", {"S": '{"SECRET":1}'}),
    ("outcome", "events", {"S": '[["SECRET"]]'}),
    ("outcome", "events", {"S": '[["a","b","SECRET",{}]]'}),
    ("outcome", "expires_at", None),
    ("outbox pointer", "kind", SECRET),
    ("outbox pointer", "commands", SECRET),
    ("outbox pointer", "sk", SECRET),
    ("outbox pointer", "sk", {"S": "2026-11-22T10:00:00#x"}),
]


@pytest.mark.parametrize(("kind", "attribute", "value"), WRONG)
def test_the_error_of_a_malformed_item_names_the_attribute_and_never_the_value(
    kind: str, attribute: str, value: Any
) -> None:
    """The error names the kind and the attribute; a stored value may be personal data."""
    item: Any = rendered()[kind]
    if value is None:
        del item[attribute]
    else:
        item[attribute] = value
    with pytest.raises(MalformedItemError) as caught:
        PARSERS[kind](item)
    assert (caught.value.kind, caught.value.attribute) == (kind, attribute)
    assert str(caught.value).startswith(f"{kind} item, attribute {attribute}: ")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("outer", "inner", "path"),
    [
        ("ban", {"reason": {"N": "1"}}, "ban.reason"),
        ("password_reset", {"token_hash": {"S": "x"}}, "password_reset.expires_at"),
        ("email_change", {"new_email": {"S": "x"}}, "email_change.token"),
        ("email_change", {"token": {"M": {}}}, "email_change.token.token_hash"),
    ],
)
def test_the_error_of_a_malformed_map_names_the_nested_attribute(
    outer: str, inner: Any, path: str
) -> None:
    """The path leads to the attribute."""
    item: Any = mapper.render_user(new_user("ada"))
    item[outer] = {"M": inner}
    with pytest.raises(MalformedItemError) as caught:
        mapper.parse_user(item)
    assert caught.value.attribute == path


# --- formats -------------------------------------------------------------------------------


def test_an_older_item_is_upcast_step_by_step() -> None:
    """Invented formats: 0 had `mail`, 1 had `mail_address`, 2 is the present one."""

    def rename(old: str, new: str) -> Any:
        return lambda item: {
            **{name: value for name, value in item.items() if name != old},
            new: item[old],
        }

    present = ItemFormat(
        "user", 2, {0: rename("mail", "mail_address"), 1: rename("mail_address", "email")}
    )
    user = new_user("ada")
    item = mapper.render_user(user)
    oldest: Any = {**item, "schema": {"N": "0"}, "mail": item["email"]}
    del oldest["email"]
    kept = deepcopy(oldest)
    assert mapper.parse_user(oldest, present) == user
    assert oldest == kept
    with pytest.raises(MalformedItemError, match="schema: has no upcast"):
        mapper.parse_user(oldest)


def test_a_session_of_the_first_format_can_be_read() -> None:
    """It has ended, since no user lists it; its token finds it in the index."""
    old: Any = mapper.render_session(USER_ID, session("phone"))
    for name in ("refresh_family_hash", "refresh_token_hashes"):
        del old[name]
    old |= {
        "schema": {"N": "1"},
        "refresh_token_hash": {"S": token("t").stored},
        "used_token_hashes": {"S": token("u").stored[:16]},
        "session_epoch": {"N": "1"},
    }
    read = mapper.parse_session(old)
    assert read.session_id == session("phone").session_id
    assert read.refresh_family_hash == token("t").stored
    assert read.refresh_token_hashes == (token("t").stored[:32],)
    written = mapper.render_session(USER_ID, read)
    assert written["schema"] == {"N": "2"}
    assert not written.keys() & {"refresh_token_hash", "used_token_hashes", "session_epoch"}
