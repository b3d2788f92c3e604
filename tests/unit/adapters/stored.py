"""Hypothesis strategies for stored items."""

from __future__ import annotations

from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import BannedAddress, Outcome, Status
from domain.errors import RejectionCode
from domain.events import RecordedEvent
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import AcceptedTerms, Ban, EmailChange, TwoFactor, User
from domain.values import EmailAddress

ids = st.uuids().map(str)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
short_hashes = st.text("0123456789abcdef", min_size=32, max_size=32)
counts = st.integers(0, 10**12)
times = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001 - Hypothesis takes the zone apart
    datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
seconds = times.map(lambda time: time.replace(microsecond=0))
emails = st.builds(lambda local: EmailAddress(f"{local}@example.com"), st.text("abcÄß", min_size=1))
tokens = st.builds(OneTimeToken, hashes, times)

_BY_TYPE: dict[object, st.SearchStrategy[Any]] = {
    str: texts,
    int: counts,
    bool: st.booleans(),
    datetime: times,
    EmailAddress: emails,
    tuple[str, ...]: st.lists(st.text("abc_", min_size=1), max_size=4).map(tuple),
    Ban: st.builds(Ban, texts, st.none() | times, address_hash=st.none() | hashes),
    dict[str, datetime]: st.dictionaries(ids, seconds, max_size=3),
    dict[str, AcceptedTerms]: st.dictionaries(
        st.text("abc-", min_size=1), st.builds(AcceptedTerms, texts, times), max_size=3
    ),
    EmailChange: st.builds(EmailChange, emails, tokens),
    OneTimeToken: tokens,
}


def _values(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is UnionType:
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        return st.none() | _values(name, inner)
    assert hint in _BY_TYPE, f"User.{name}: add a strategy for its type to _BY_TYPE above"
    return _BY_TYPE[hint]


users = st.builds(
    User,
    **{
        name: _values(name, hint)
        for name, hint in get_type_hints(User).items()
        if name not in {"user_id", "sessions", "two_factor"}
    },
    user_id=ids,
)
"""With any value in every field that is stored in the user's own item."""

sessions = st.builds(
    Session,
    session_id=ids,
    refresh_family_hash=hashes,
    refresh_token_hashes=st.lists(short_hashes, min_size=1, max_size=4).map(tuple),
    replaced_token_hash=st.none() | short_hashes,
    replaced_at=st.none() | times,
    expires_at=seconds,
    revision=counts,
)

two_factors = st.builds(
    TwoFactor,
    secret_ciphertext=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    recovery_code_hashes=st.lists(hashes, max_size=16).map(tuple),
    revision=counts,
)

json_values = st.recursive(
    st.none() | st.booleans() | counts | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
events = st.builds(
    RecordedEvent,
    type=texts,
    category=texts,
    sequence=st.none() | counts,
    data=st.dictionaries(texts, json_values, max_size=4),
)

outcomes = st.builds(
    Outcome,
    command_id=ids,
    command_type=texts,
    user_id=st.none() | ids,
    by_email=st.booleans(),
    fingerprint=texts,
    status=st.sampled_from(Status),
    code=st.none() | st.sampled_from(RejectionCode),
    events=st.lists(events, max_size=3).map(tuple),
    version=counts,
    recorded_at=times,
    expires_at=seconds,
    source=texts,
    correlation_id=st.none() | texts,
    actor=st.none() | texts,
    producer=st.none() | texts,
    principal=st.none() | texts,
    traceparent=st.none() | texts,
    tracestate=st.none() | texts,
)

banned = st.builds(BannedAddress, hashes, ids, st.none() | times)

command_keys = st.builds(CommandKey, st.none() | ids, ids)


@st.composite
def entries(draw: st.DrawFn) -> OutboxEntry:
    """Draw an entry whose sort key starts with its time."""
    time = draw(times)
    time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    stamp = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return OutboxEntry(
        partition=f"OUTBOX#{draw(st.integers(0, 7))}",
        sort_key=f"{stamp}#{draw(ids)}",
        kind=draw(st.sampled_from(JobKind)),
        commands=tuple(draw(st.lists(command_keys, max_size=20))),
        recorded_at=time,
        parked_because=draw(st.none() | texts),
        attempts=draw(counts),
        touched_at=draw(st.none() | times),
        position=draw(st.none() | ids),
        unreadable=draw(counts),
        final=draw(st.booleans()),
        address=draw(st.none() | emails.map(lambda email: email.key)),
    )
