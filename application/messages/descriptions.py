"""What every field and attribute means, in a sentence and an example: the words of the contracts.

A field has one meaning wherever it stands, so it is described once, by its name; where a message
means something of its own by it, under `<Message>.<field>` too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

EXAMPLE_USER: Final = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
EXAMPLE_COMMAND: Final = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
EXAMPLE_SOURCE: Final = "/signup"
_TOKEN = "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01"  # noqa: S105 - an id
_SESSION = "0190b6d2-9c10-7b3e-8d21-5b6f0a9c4e02"
_TIME = "2026-12-24T18:00:00.000Z"
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# Of a random password that nobody kept.
_PASSWORD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$SozvRNUKuA7HTe2K2fhYRg$wXhzswWI2gwDWkqoBvLAETSkgeCqsph2//w99esuMQE"  # noqa: E501, S105


@dataclass(frozen=True, slots=True)
class Description:
    """What a field means, and a value that it may have."""

    text: str
    example: Any

    def annotate(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Give a field's schema with its words."""
        return {"description": self.text, **schema, "examples": [self.example]}


def _hash(mark: int) -> str:
    return f"{mark:02x}" * 32


_ADDRESS = "E-mail address: trimmed, composed (NFC), its domain in lower-case ASCII."

_FIELDS: Final = {
    "email": Description(_ADDRESS, "ada@example.com"),
    "new_email": Description(
        f"The address that replaces the present one. {_ADDRESS}", "ada@example.org"
    ),
    "old_email": Description("The address that was replaced.", "ada@example.com"),
    "first_name": Description("Given name: trimmed, composed (NFC), visible text.", "Ada"),
    "last_name": Description("Family name: trimmed, composed (NFC), visible text.", "Lovelace"),
    "password_hash": Description(
        "Argon2id hash in PHC form, at least m=47104,t=1 or m=19456,t=2 or m=12288,t=3 "
        "or m=9216,t=4 or m=7168,t=5, at most m=1048576,t=20,p=16; "
        "made where the password was typed. Never the password.",
        _PASSWORD_HASH,
    ),
    "roles": Description(
        "The user's roles; the worker's settings say which there are.", ["customer"]
    ),
    "role": Description("A role; the worker's settings say which there are.", "lab_assistant"),
    "token_id": Description(
        "Names the token. Edge and mailer both derive the token from it, by a key that they share.",
        _TOKEN,
    ),
    "token_hash": Description("SHA-256 of the token, in hexadecimal.", _hash(0x11)),
    "expires_at": Description("When the token, or the session, ends.", _TIME),
    "credential_version": Description(
        "The number of the password; each new one has the next number.", 1
    ),
    "session_id": Description("Names the session; the edge makes it.", _SESSION),
    "refresh_token_hash": Description("SHA-256 of the refresh token, in hexadecimal.", _hash(0x22)),
    "next_refresh_token_hash": Description(
        "SHA-256 of the refresh token that replaces it, in hexadecimal.", _hash(0x33)
    ),
    "secret_ciphertext": Description(
        "The second factor's secret, encrypted by the edge; printable ASCII.", "AQIDBAUGBwg="
    ),
    "recovery_code_hashes": Description(
        "SHA-256 of each recovery code, in hexadecimal.",
        [_hash(mark) for mark in range(0x40, 0x48)],
    ),
    "code_hash": Description("SHA-256 of the recovery code, in hexadecimal.", _hash(0x40)),
    "reason": Description("Why, for those who look after users: visible text.", "spam"),
    "until": Description("When it ends; left out or null, it does not.", _TIME),
    "changed": Description("The names of the fields that changed.", ["first_name"]),
    "session_epoch": Description("Sessions of an earlier epoch have ended.", 2),
    "failed_logins": Description("Failures in a row, this one included.", 3),
    "locked_until": Description("When a login is possible again.", _TIME),
    "remaining": Description("How many recovery codes are left.", 7),
    "command_id": Description("The command's id; the same as causationid.", EXAMPLE_COMMAND),
    "command_type": Description(
        "The command's message type, as it was sent.", "biome.user.AssignRole.v1"
    ),
    "code": Description("Why it was rejected. More codes may be added.", "UserNotFound"),
    # --- where a message means something of its own ---
    "ChangePassword.credential_version": Description(
        "The number of the password that was checked; rejected when it is no longer that.", 1
    ),
    "PasswordChanged.credential_version": Description("The new password's number.", 2),
    "PasswordReset.credential_version": Description("The new password's number.", 2),
    "RequestPasswordReset.email": Description(
        f"Names the user in place of subject. {_ADDRESS}", "ada@example.com"
    ),
    "ResetPassword.email": Description(
        f"Names the user in place of subject. {_ADDRESS}", "ada@example.com"
    ),
    "RevokeRole.role": Description(
        "A role, by its form: one that the settings no longer know can still be revoked.",
        "customer",
    ),
    "StartSession.expires_at": Description("When the session ends.", _TIME),
    "RotateRefreshToken.expires_at": Description("When the session ends from now on.", _TIME),
}
_ERASED = " Null when the person was erased before the event came out."

_COMMAND_ATTRIBUTES: Final = {
    "specversion": Description("The version of CloudEvents.", "1.0"),
    "id": Description(
        "The command's id, not the nil or max UUID. With the user's id it is the idempotency key: "
        "sent again, the same command changes nothing, and another one under it is dead-lettered.",
        EXAMPLE_COMMAND,
    ),
    "source": Description(
        "Who asks. It comes back as the message attribute command_source of the events.",
        EXAMPLE_SOURCE,
    ),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.RegisterUser.v1"),
    "subject": Description("The user's id, not the nil or max UUID.", EXAMPLE_USER),
    "time": Description(
        "When it was asked for; left out, when the message was sent.", "2026-11-22T10:00:00Z"
    ),
    "datacontenttype": Description("The form of data; may be left out.", "application/json"),
    "data": Description("The command's fields; one that is not listed is an error.", {}),
    "expectedversion": Description(
        "Reject unless the user is at this version; 0: does not exist.", 7
    ),
    "expirytime": Description("Reject when it is not decided by then.", "2026-11-22T10:05:00Z"),
    "correlationid": Description(
        "Comes back in every event and stands in logs: nothing of a person.", "order-4711"
    ),
    "actor": Description("On whose behalf; checked, and not kept.", "support/7"),
    "traceparent": Description("W3C Trace Context; left out when it is malformed.", _TRACE),
    "tracestate": Description("W3C Trace Context; left out when it is malformed.", "vendor=1"),
}
_EVENT_ATTRIBUTES: Final = {
    "specversion": _COMMAND_ATTRIBUTES["specversion"],
    "id": Description(
        "The event's id, the same however often it is published: deduplicate by it.",
        "91d73223-f80c-5ad9-92ed-173da7048fff",
    ),
    "source": Description("Always the worker.", "urn:biome:user-worker"),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.UserBanned.v1"),
    "subject": Description(
        "The user's id; absent where a command named an address that nobody has.", EXAMPLE_USER
    ),
    "time": Description("The worker's clock at the commit.", "2026-11-22T10:00:00.412Z"),
    "datacontenttype": Description("The form of data.", "application/json"),
    "sequence": Description(
        "The user's version after the event: 1, 2, 3, ... without gaps, of 20 digits, so that they "
        "compare as strings. Absent from events of category command.",
        "00000000000000000007",
    ),
    "causationid": Description("The id of the command that it came of.", EXAMPLE_COMMAND),
    "correlationid": Description("As in the command, where it had one.", "order-4711"),
    "traceparent": Description("As in the command, where it had one.", _TRACE),
    "tracestate": Description("As in the command, where it had one.", "vendor=1"),
    "data": Description("What happened. Fields may be added: ignore those you do not know.", {}),
}


def field(message: str, name: str) -> Description:
    """Describe a field of a message, which is named by its class.

    Raises:
        KeyError: nobody has described it.
    """
    return _FIELDS.get(f"{message}.{name}") or _FIELDS[name]


def event_field(message: str, name: str, *, personal: bool) -> Description:
    """Describe a field of an event; personal ones are emptied by an erasure.

    Raises:
        KeyError: nobody has described it.
    """
    found = field(message, name)
    return Description(found.text + _ERASED, found.example) if personal else found


def command_attribute(name: str) -> Description:
    """Describe an attribute of a command's CloudEvent.

    Raises:
        KeyError: nobody has described it.
    """
    return _COMMAND_ATTRIBUTES[name]


def event_attribute(name: str) -> Description:
    """Describe an attribute of an event's CloudEvent.

    Raises:
        KeyError: nobody has described it.
    """
    return _EVENT_ATTRIBUTES[name]
