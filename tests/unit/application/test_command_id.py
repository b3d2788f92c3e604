"""Ids of commands, of the worker's programs and of the Python client."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import reduce
from operator import and_, or_
from uuid import RFC_4122, UUID

import pytest

import biome_users
from application.command_id import new_command_id
from biome_users.commands import UnbanUser
from cli.demo.samples import sample_stages
from domain.values import parse_id
from operations.command_input import Options, from_arguments
from tests.builders import uid

GENERATORS = {"worker": new_command_id, "client": biome_users.new_command_id}
FREE_BITS = 0xFFF << 64 | (1 << 62) - 1
"""Bits of a UUIDv7 that are neither its time nor its version or variant (RFC 9562, 5.7)."""

generators = pytest.mark.parametrize("new", GENERATORS.values(), ids=GENERATORS)


@generators
def test_a_command_id_has_the_layout_of_rfc_9562(
    new: Callable[[], UUID | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is that of the example in its appendix A.6; each other bit is random."""
    monkeypatch.setattr(time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000 + 999_999)
    ids = [UUID(str(new())) for _ in range(200)]
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    assert {str(each)[:15] for each in ids} == {"017f22e2-79b0-7"}
    numbers = [each.int for each in ids]
    assert reduce(or_, numbers) & FREE_BITS == FREE_BITS
    assert reduce(and_, numbers) & FREE_BITS == 0
    assert {parse_id(str(each)) for each in ids} == {str(each) for each in ids}


@generators
def test_command_ids_sort_by_time(
    new: Callable[[], UUID | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table orders a user's outcomes by the text of the id."""
    clock = iter(range(0, 2**48 * 1_000_000, 2**38 * 999_983))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    ids = [str(new()) for _ in range(1_000)]
    assert ids == sorted(ids)


def test_commands_without_an_id_get_one_that_sorts_by_time() -> None:
    """On the command line, in the samples and in the client."""
    event = from_arguments("UnbanUser", [], None, Options(user_id=uid("ada")))
    samples = [each.key.command_id for stage in sample_stages() for each in stage]
    request = biome_users.CommandRequest(command=UnbanUser(), user_id=UUID(uid("ada")))
    ids = [event["id"], str(request.command_id), *samples]
    assert {UUID(each).version for each in ids} == {7}
