from __future__ import annotations

import pytest
from pydantic import SecretStr

from application.key_ring import KeyRing
from worker.errors import SettingsError
from worker.settings import Settings, load_settings, unknown_settings


def test_the_defaults_are_those_of_development() -> None:
    """A new developer sets nothing."""
    settings = load_settings()
    assert (settings.env, settings.repository, settings.table) == ("dev", "dynamodb", "users")
    assert settings.create_resources
    assert settings.log_format == "console"
    assert settings.queues == ("user-commands",)


@pytest.mark.parametrize(
    ("env", "creates", "log"), [("test", True, "json"), ("prod", False, "json")]
)
def test_other_environments_differ_only_where_they_must(
    monkeypatch: pytest.MonkeyPatch, env: str, creates: bool, log: str
) -> None:
    """Production creates nothing; logs are JSON outside development."""
    monkeypatch.setenv("USER_WORKER_ENV", env)
    settings = load_settings()
    assert (settings.create_resources, settings.log_format) == (creates, log)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("ENV", "production", "USER_WORKER_ENV"),
        ("REPOSITORY", "postgres", "USER_WORKER_REPOSITORY"),
        ("TABLE", "a", "USER_WORKER_TABLE"),
        ("COMMAND_QUEUE", "no spaces allowed", "USER_WORKER_COMMAND_QUEUE"),
        ("COMMAND_QUEUE", "commands.fifo", "must all be FIFO or none"),
        ("PRIORITY_QUEUE", "urgent.fifo", "must all be FIFO or none"),
        ("QUARANTINE_QUEUE", "quarantine.fifo", "must all be FIFO or none"),
        ("QUARANTINE_QUEUE", "user-commands-dlq", "is named twice"),
        ("ADDITIONAL_QUEUES", "a,b.fifo", "must all be FIFO or none"),
        ("ADDITIONAL_QUEUES", "a,b c", "USER_WORKER_ADDITIONAL_QUEUES must be names of queues"),
        ("ADDITIONAL_QUEUES", "a,,b", "USER_WORKER_ADDITIONAL_QUEUES must be names of queues"),
        ("ADDITIONAL_QUEUES", "a,", "USER_WORKER_ADDITIONAL_QUEUES must be names of queues"),
        ("ADDITIONAL_QUEUES", "a\nb", "USER_WORKER_ADDITIONAL_QUEUES must be names of queues"),
        (
            "ADDITIONAL_QUEUES",
            "a,b,a",
            "queue a is named twice, in USER_WORKER_ADDITIONAL_QUEUES: name each queue once",
        ),
        (
            "ADDITIONAL_QUEUES",
            "a,user-commands",
            "named twice, in USER_WORKER_COMMAND_QUEUE and USER_WORKER_ADDITIONAL_QUEUES",
        ),
        (
            "ADDITIONAL_QUEUES",
            "user-commands-dlq",
            "named twice, in USER_WORKER_ADDITIONAL_QUEUES and USER_WORKER_DEAD_LETTER_QUEUE",
        ),
        (
            "PRIORITY_QUEUE",
            "user-commands",
            "named twice, in USER_WORKER_COMMAND_QUEUE and USER_WORKER_PRIORITY_QUEUE",
        ),
        (
            "COMMAND_QUEUE",
            "user-commands-dlq",
            "named twice, in USER_WORKER_COMMAND_QUEUE and USER_WORKER_DEAD_LETTER_QUEUE",
        ),
        ("VISIBILITY_TIMEOUT", "0", "USER_WORKER_VISIBILITY_TIMEOUT"),
        ("VISIBILITY_TIMEOUT", "a minute", "USER_WORKER_VISIBILITY_TIMEOUT"),
        ("BATCH_SIZE", "9", "USER_WORKER_BATCH_SIZE"),
        ("BATCH_SIZE", "31", "USER_WORKER_BATCH_SIZE"),
        ("BATCH_WAIT", "-1", "USER_WORKER_BATCH_WAIT must be from 0 to 5000"),
        ("BATCH_WAIT", "5001", "USER_WORKER_BATCH_WAIT must be from 0 to 5000"),
        ("BATCH_WAIT", "0.2", "USER_WORKER_BATCH_WAIT must be a whole number from 0 to 5000"),
        ("BATCH_WAIT", "200ms", "USER_WORKER_BATCH_WAIT must be a whole number from 0 to 5000"),
        ("OUTCOME_DAYS", "7", "USER_WORKER_OUTCOME_DAYS"),
        ("LOCK_AFTER_FAILURES", "0", "USER_WORKER_LOCK_AFTER_FAILURES must be from 1 to 100"),
        ("LOCK_AFTER_FAILURES", "101", "USER_WORKER_LOCK_AFTER_FAILURES must be from 1 to 100"),
        ("ROLES", "customer,Admin!", "USER_WORKER_ROLES"),
        ("ROLES", "", "USER_WORKER_ROLES"),
        ("ROLES", "b\u00e9", "USER_WORKER_ROLES"),
        ("EVENTS_TOPIC", "arn:aws:sns:user-events", "USER_WORKER_EVENTS_TOPIC"),
        ("PERSONAL_TOPIC", "no spaces allowed", "USER_WORKER_PERSONAL_TOPIC"),
        ("PERSONAL_TOPIC", "user-events", "must be two topics"),
        ("PERSONAL_TOPIC", "arn:aws:sns:us-east-1:123456789012:user-events", "must be two topics"),
        ("PERSONAL_TOPIC", "personal.fifo", "must both be FIFO or neither"),
        ("LOG_FORMAT", "xml", "USER_WORKER_LOG_FORMAT"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    """The message names the setting and what it may be."""
    monkeypatch.setenv(f"USER_WORKER_{name}", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
    for raw in ("Input should", "String should", "Value error", "^["):
        assert raw not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TABEL", "USER_WORKER_TABLE"),
        ("ROLE", "USER_WORKER_ROLES"),
        ("COMMANDS_QUEUE", "USER_WORKER_COMMAND_QUEUE"),
        ("visibilty_timeout", "USER_WORKER_VISIBILITY_TIMEOUT"),
        ("SERVICE_HOST", None),
        ("PORT", None),
    ],
)
def test_a_mistyped_setting_is_reported_and_a_foreign_variable_is_ignored(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str | None
) -> None:
    """A setting without effect is worse than one that ends the program."""
    monkeypatch.setenv(f"USER_WORKER_{variable}", "x")
    assert unknown_settings() == {f"USER_WORKER_{variable}": meant}
    if meant is None:
        load_settings()
    else:
        with pytest.raises(SettingsError, match=f"did you mean {meant}"):
            load_settings()


def test_the_variables_of_the_command_line_and_of_tests_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same for all settings, in upper and lower case."""
    for name in ("USER_WORKER_DEBUG", "USER_WORKER_CRASH_SEED", "user_worker_table"):
        monkeypatch.setenv(name, "users")
    assert unknown_settings() == {}


@pytest.mark.parametrize(
    ("name", "value"), [("CREATE_RESOURCES", "true"), ("REPOSITORY", "memory")]
)
def test_production_refuses_what_is_for_development(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It must not create a table by accident, or keep users in memory."""
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    monkeypatch.setenv(f"USER_WORKER_{name}", value)
    with pytest.raises(SettingsError, match=f"USER_WORKER_{name}"):
        load_settings()


SECRET_KEYS = ("a secret key of 32 bytes or more, 1", "a secret key of 32 bytes or more, 2")


def test_keys_of_addresses_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one makes new hashes; a list in a shell is not JSON."""
    keys = [key.replace(",", ";") for key in SECRET_KEYS]
    monkeypatch.setenv("USER_WORKER_HASH_KEYS", ", ".join(keys))
    assert load_settings().hash_key_ring == KeyRing(tuple(key.encode() for key in keys))


@pytest.mark.parametrize("value", ["short-secret", f"{'x' * 32},short-secret", f"{'x' * 32},"])
def test_a_short_key_ends_the_program_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The line names the variable and the rule."""
    monkeypatch.setenv("USER_WORKER_HASH_KEYS", value)
    with pytest.raises(
        SettingsError, match="USER_WORKER_HASH_KEYS must contain only keys of 32"
    ) as raised:
        load_settings()
    assert "short-secret" not in str(raised.value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_worker_in_production_needs_keys_of_addresses(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """Other programs do not need them; in development there is a fixed key."""
    if value is not None:
        monkeypatch.setenv("USER_WORKER_HASH_KEYS", value)
    assert load_settings().hash_key_ring.keys
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    settings = load_settings()
    with pytest.raises(SettingsError, match="USER_WORKER_HASH_KEYS is not set"):
        _ = settings.hash_key_ring


def test_no_key_is_shown_with_the_settings() -> None:
    """Settings may appear in a traceback or a log line."""
    keys = tuple(SecretStr(key) for key in SECRET_KEYS)
    settings = Settings(hash_keys=keys)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert not any(key in shown for key in SECRET_KEYS)


def test_the_priority_queue_is_served_first() -> None:
    """All queues may be FIFO."""
    settings = Settings(
        command_queue="c.fifo",
        dead_letter_queue="d.fifo",
        quarantine_queue="q.fifo",
        priority_queue="urgent.fifo",
    )
    assert settings.queues == ("urgent.fifo", "c.fifo")


@pytest.mark.parametrize(
    ("value", "queues"),
    [("", ()), ("  ", ()), ("a", ("a",)), ("a, b_2 ,C-3", ("a", "b_2", "C-3"))],
)
def test_additional_queues_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, queues: tuple[str, ...]
) -> None:
    """They come after the command queue."""
    monkeypatch.setenv("USER_WORKER_ADDITIONAL_QUEUES", value)
    assert load_settings().additional_queues == queues
    assert load_settings().queues == ("user-commands", *queues)
    monkeypatch.setenv("USER_WORKER_PRIORITY_QUEUE", "urgent")
    assert load_settings().queues == ("urgent", "user-commands", *queues)


def test_roles_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in a shell is not JSON."""
    monkeypatch.setenv("USER_WORKER_ROLES", "customer, vet")
    assert load_settings().roles == ("customer", "vet")


def test_a_topic_may_be_named_by_its_arn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may belong to another account."""
    arn = "arn:aws:sns:eu-west-1:123456789012:user-events.fifo"
    monkeypatch.setenv("USER_WORKER_EVENTS_TOPIC", arn)
    assert load_settings().events_topic == arn
    assert load_settings().personal_topic == arn.replace("user-events", "user-events-personal")


@pytest.mark.parametrize(
    ("ordinary", "personal"),
    [
        ("user-events", "user-events-personal"),
        ("stage-events", "stage-events-personal"),
        ("stage-events.fifo", "stage-events-personal.fifo"),
    ],
)
def test_the_personal_topic_is_named_after_the_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, ordinary: str, personal: str
) -> None:
    """Two stages in an account do not share it, and it is FIFO if the ordinary one is."""
    monkeypatch.setenv("USER_WORKER_EVENTS_TOPIC", ordinary)
    assert load_settings().personal_topic == personal
    monkeypatch.setenv("USER_WORKER_PERSONAL_TOPIC", chosen := personal.replace("stage", "other"))
    assert load_settings().personal_topic == chosen


def test_an_invalid_ordinary_topic_is_the_only_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The personal topic, which is not set, is not mentioned."""
    monkeypatch.setenv("USER_WORKER_EVENTS_TOPIC", "no spaces allowed")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "PERSONAL_TOPIC" not in str(raised.value)


def test_a_batch_may_wait_for_half_of_the_visibility_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A longer wait would need a renewal for messages that have not even started."""
    monkeypatch.setenv("USER_WORKER_VISIBILITY_TIMEOUT", "3")
    monkeypatch.setenv("USER_WORKER_BATCH_WAIT", "1500")
    assert load_settings().batch_wait == 1500
    monkeypatch.setenv("USER_WORKER_BATCH_WAIT", "1501")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == (
        "USER_WORKER_BATCH_WAIT must be at most half of USER_WORKER_VISIBILITY_TIMEOUT, which is "
        "1500 ms: messages must start before their visibility is renewed"
    )
