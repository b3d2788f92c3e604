from __future__ import annotations

import time
from collections import Counter

import pytest

from application.messages import MalformedMessageError, MessageParser
from application.ports import CommandKey
from cli.demo.samples import DUPLICATE, PASSWORD_HASHES, PLAINTEXT, Sample, sample_stages
from domain.values import PasswordHash
from tests.builders import message
from worker.settings import Settings

PARSER = MessageParser(Settings().roles)


def samples(mark: str = "") -> list[Sample]:
    """Return the samples of all stages."""
    return [sample for stage in sample_stages(mark) for sample in stage]


def test_a_newcomer_sees_each_kind_of_outcome() -> None:
    """Accepted, without effect, rejected, duplicate and dead-lettered."""
    kinds = Counter(sample.expected.split(" ")[0] for sample in samples())
    assert set(kinds) == {"accepted", "accepted,", "rejected", "duplicate", "dead"}


def test_every_sample_is_a_valid_command_but_the_one_that_must_not_be() -> None:
    """In the invalid one the password is redacted."""
    for sample in samples():
        received = message(sample.body)
        received["sent_at"] = time.time()
        if sample.expected.startswith("dead"):
            with pytest.raises(MalformedMessageError, match=r"data\.password_hash") as error:
                PARSER.parse(received)
            redacted = PARSER.redact(sample.body)
            assert redacted is not None
            assert PLAINTEXT not in redacted.body + str(error.value)
        else:
            envelope = PARSER.parse(received)
            assert CommandKey(envelope.user_id, envelope.command_id) == sample.key
            assert type(envelope.command).__name__ == sample.name


@pytest.mark.parametrize("text", PASSWORD_HASHES)
def test_the_password_hashes_are_real_ones(text: str) -> None:
    """They are valid by the rules that they demonstrate."""
    assert PasswordHash.parse(text).value == text


def test_the_repeated_message_is_one_that_an_earlier_stage_sent() -> None:
    """Otherwise the order of the two would be unknown."""
    stages = sample_stages()
    for number, stage in enumerate(stages):
        for sample in stage:
            if sample.expected == DUPLICATE:
                earlier = [each for before in stages[:number] for each in before]
                assert sample.body in [each.body for each in earlier]


def test_two_streams_have_distinct_ids_and_with_a_mark_distinct_addresses() -> None:
    """They can be sent again to the same table."""
    one, two = samples(), samples("-x")
    assert not {s.key.command_id for s in one} & {s.key.command_id for s in two}
    assert not {s.key.user_id for s in one} & {s.key.user_id for s in two}
    assert "ada-x@example.org" in two[0].body
