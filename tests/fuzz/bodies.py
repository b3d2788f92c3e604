"""Bodies of messages: valid ones of every form and command, and damaged ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from domain.commands import COMMANDS
from tests.canaries import ADDRESS, PASSWORD_HASH, SECRET, TOKEN_HASH
from tests.fuzz.choices import Choices
from tests.unit.application.messages.examples import (
    EXAMPLES,
    OTHER_ID,
    USER_ID,
    cloud_event,
    notification,
)

NAMES: Final = tuple(EXAMPLES)
SECRETIVE: Final = ("password", "password_hash", "token", "refresh_token", "client_secret",
                    "token_hash", "refresh_token_hash", "recovery_code_hashes")  # fmt: skip
_IDS = (USER_ID, OTHER_ID, "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c78")
_ATTRIBUTES = ("id", "source", "subject", "time", "type", "data", "specversion", "expirytime",
               "expectedversion", "correlationid", "actor", "traceparent", "x", "datacontenttype",
               "data_base64", "headers", "body", "Type")  # fmt: skip


def canary_event(name: str) -> dict[str, Any]:
    """Return a command's example with the canaries as its address, hashes and password hash."""
    return cloud_event(name, data={key: _canary(key, v) for key, v in EXAMPLES[name].items()})


def _canary(field: str, value: Any) -> Any:
    if field.endswith("email"):
        return ADDRESS
    if field == "password_hash":
        return PASSWORD_HASH
    return TOKEN_HASH if field.endswith("_hash") else value


def celery(text: str, headers: dict[str, Any]) -> str:
    """Render a text as the body of a Celery message."""
    return json.dumps(
        {
            "body": base64.b64encode(text.encode("utf-8", "replace")).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {"body_encoding": "base64"},
        }
    )


def celery_of(event: dict[str, Any]) -> str:
    """Render an event as a task message."""
    data = event.get("data")
    kwargs = {**data, "user_id": event.get("subject")} if isinstance(data, dict) else data
    headers = {key: value for key, value in event.items() if key not in ("data", "type")}
    headers |= {"task": event.get("type"), "argsrepr": "()", "kwargsrepr": repr(kwargs)}
    return celery(json.dumps([[], kwargs, {"callbacks": None}]), headers)


def in_base64(text: str) -> str:
    """Return a text as base64."""
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


WRAPPINGS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    notification,
    in_base64,
    lambda text: celery(text, {"task": "biome.user.RegisterUser.v1", "id": OTHER_ID}),
    json.dumps,
)
"""Any text, as a sender could wrap it."""
FORMS: Final[tuple[Callable[[dict[str, Any]], str], ...]] = (
    json.dumps,
    lambda event: notification(json.dumps(event)),
    celery_of,
    lambda event: in_base64(celery_of(event)),
)
"""An event in each of the accepted forms."""


def any_body(choices: Choices) -> str:
    """Choose any text, wrapped in some way."""
    wrap = choices.one_of(WRAPPINGS)
    return wrap(choices.rest().decode("utf-8", "surrogateescape"))


def damaged_body(choices: Choices) -> str:
    """Choose a valid command of some form, with changes at some places."""
    name = choices.one_of(NAMES)
    event = canary_event(name)
    event["id"] = f"0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b{choices.below(4):02d}"
    event["subject"] = choices.one_of(_IDS)
    if name in ("ResetPassword", "RequestPasswordReset") and choices.below(2):
        event["data"]["email"] = ADDRESS
        del event["subject"]
    for _ in range(choices.below(4)):
        _change(event, choices)
    return choices.one_of(FORMS)(event)


def cut_body(choices: Choices) -> str:
    """Choose a damaged body and replace a part of its text, which may remove a secret's name."""
    body = damaged_body(choices)
    start = choices.below(min(len(body), 2000) + 1)
    return body[:start] + choices.text(6) + body[start + choices.below(40) :]


def _change(event: dict[str, Any], choices: Choices) -> None:
    data = event.get("data")
    place = data if isinstance(data, dict) and choices.below(2) else event
    match choices.below(5):
        case 0:
            place[choices.one_of(SECRETIVE)] = choices.one_of((SECRET, [SECRET], {"v": SECRET}))
        case 1:
            place.pop(choices.one_of(tuple(place) or ("x",)), None)
        case 2:
            place[choices.one_of(_ATTRIBUTES)] = choices.json()
        case 3:
            place[choices.one_of(tuple(place) or ("x",))] = choices.json()
        case 4:
            event["type"] = choices.one_of((*COMMANDS, "biome.user.RegisterUser.v2", "x"))


def seeds() -> list[bytes]:
    """Return bytes that `any_body` turns into valid messages, to start a guided search from."""
    texts = [json.dumps(canary_event(name)) for name in NAMES]
    wrapped = [bytes([0]) + text.encode() for text in texts]
    wrapped += [bytes([1]) + text.encode() for text in texts[:3]]
    wrapped += [bytes([0]) + celery_of(canary_event(name)).encode() for name in NAMES[:3]]
    kwargs = {**EXAMPLES["RegisterUser"], "user_id": USER_ID}
    wrapped.append(bytes([3]) + json.dumps([[], kwargs, {}]).encode())
    return wrapped
