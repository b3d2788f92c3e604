"""Secrets under many names and in many shapes, for every place that shows a part of a message."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable
from typing import Any, Final

from tests.unit.application.messages.examples import (
    COMMAND_ID,
    USER_ID,
    cloud_event,
    notification,
    with_data,
)

SECRET: Final = "Hunter2-Correct-Horse"

_WORDS = (
    "pass pw pwd password passwd passphrase pass_phrase passcode pin cookie jwt seed totp "
    "totp_code backup_codes recovery_code recovery_codes kennwort contrasena mot_de_passe "
    "parola passwort heslo senha wachtwoord losenord sifre parool token access_token "
    "refresh_token id_token bearer authorization auth api_key apikey key private_key secret "
    "client_secret shared_secret hash password_hash token_hash digest salt pepper nonce "
    "signature hmac credential credentials otp otp_code code mfa mfa_code second_factor "
    "session session_id sid cookie_jar csrf xsrf state verifier code_verifier challenge "
    "assertion saml ticket tgt kerberos ntlm ssn iban card cvv pan account_number "
    "security_answer answer hint note comment value text body payload message info extra meta "
    "metadata attributes raw content dump debug trace error exception stack request response "
    "headers query url uri link href redirect_uri callback webhook params form fields field "
    "name first_name last_name nickname username user login email e_mail mail address phone "
    "mobile device ip user_agent locale zone birthday gender title company vat "
)
_ODD = (
    *("\u0440\u0430ssword", "пароль", "密码", "パスワード", "\uff30assword", "p\u00adassword"),
    *("pass\u200bword", "P@ss", "pass word", "pass.word", "pass/word", "PASSWORD", "passWord"),
    *(
        "x" * 70,
        "",
        " ",
        "0",
        "__proto__",
        "constructor",
        "$ref",
        "@type",
        "a\nb",
        "a\tb",
        '"',
        "\\",
    ),
    *("{}", "[unknown]", "[boolean]", "Data", "DATA", "dataschema", "data_base64"),
    *(SECRET, f"key-{SECRET}"),
)
_PREFIXED = tuple(
    f"{prefix}{name}"
    for prefix in ("x_", "old_", "new-", "my", "user.")
    for name in ("password", "pw", "token", "secret", "pin", "code", "key", "value")
)
NAMES: Final = (*_WORDS.split(), *_ODD, *_PREFIXED)
"""Names of fields that a secret may have."""


def reveals(text: str, secret: str = SECRET) -> bool:
    """Return True if a text contains a secret, plain, escaped, percent-encoded or in base64."""
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    plain = plain.replace("%2D", "-").replace("\\", "")
    if secret.lower() in text.lower() or secret.lower() in plain.lower():
        return True
    return any(part in text for part in _base64_parts(secret))


@functools.cache
def _base64_parts(secret: str) -> tuple[str, ...]:
    """Return what every base64 text with the secret contains, for each of its three alignments.

    The first and the last character may depend on the bytes around the secret too.
    """
    content = secret.encode()
    parts: list[str] = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + content).decode()
        parts.append(text[-(-before * 8 // 6) : (before + len(content)) * 8 // 6])
    return tuple(parts)


def _free(name: str) -> dict[str, str]:
    """Return a field with the secret, unless the name is that of a field with free text."""
    return {f"{name}_" if name in {"first_name", "last_name", "locale"} else name: SECRET}


def _celery(kwargs: Any, args: Any = (), headers: dict[str, str] | None = None) -> str:
    name = "biome.user.RegisterUser.v1"
    return json.dumps(
        {
            "body": _base64(json.dumps([args, kwargs, {}])),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": name, "id": COMMAND_ID, **(headers or {})},
            "properties": {"body_encoding": "base64"},
        }
    )


def _celery_1(kwargs: Any, args: Any) -> str:
    task = {"task": "biome.user.BanUser.v1", "id": COMMAND_ID, "args": args, "kwargs": kwargs}
    return json.dumps({"body": _base64(json.dumps(task)), "headers": {}, "properties": {}})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SHAPES: Final[dict[str, Callable[[str], str]]] = {
    "a field": lambda name: with_data(**_free(name)),
    "nested": lambda name: with_data(more={"inner": {name: SECRET}}),
    "in a list": lambda name: with_data(more=[{name: [SECRET]}]),
    "name and value": lambda name: with_data(more={"name": name, "value": SECRET}),
    "in a text": lambda name: with_data(email=f"{name}: {SECRET}"),
    "in place of a field": lambda name: with_data(password_hash={name: SECRET}),
    "a name of a field": lambda name: with_data(**{SECRET: name}),
    "a name of an attribute": lambda name: json.dumps(cloud_event() | {SECRET: name}),
    "an attribute": lambda name: json.dumps(
        cloud_event() | ({} if name in cloud_event() else {name: SECRET})
    ),
    "an extension": lambda name: json.dumps(cloud_event() | {"x": f"{name}={SECRET}"}),
    "of an unknown type": lambda name: json.dumps(
        cloud_event(data={name: SECRET}) | {"type": "biome.user.MakeCoffee.v1"}
    ),
    "in the type": lambda name: json.dumps(cloud_event() | {"type": f"{name}.{SECRET}.v1"}),
    "without a type": lambda name: json.dumps({name: SECRET}),
    "a bare text": lambda name: f"{name}={SECRET}",
    "a query": lambda name: f"https://example.com/?a=1&{name}={SECRET}",
    "a JSON text": lambda name: json.dumps(f"{name}: {SECRET}"),
    "a list": lambda name: json.dumps([name, SECRET]),
    "broken JSON": lambda name: json.dumps({name: SECRET})[:-1],
    "a trailing comma": lambda name: json.dumps({name: SECRET})[:-1] + ",}",
    "NaN": lambda name: json.dumps({name: SECRET, "x": float("nan")}),
    "a field twice": lambda name: f'{{"{SECRET}":1,"{SECRET}":2}}{name[:0]}',
    "base64": lambda name: _base64(json.dumps({name: SECRET})),
    "base64 of a text": lambda name: _base64(f"{name}={SECRET}"),
    "Celery arguments": lambda name: _celery({"user_id": USER_ID}, [name, SECRET]),
    "Celery keyword arguments": lambda name: _celery({"user_id": USER_ID, **_free(name)}),
    "Celery representations": lambda name: _celery(
        {}, [], {"argsrepr": repr((name, SECRET)), "kwargsrepr": repr({name: SECRET})}
    ),
    "Celery headers": lambda name: _celery({}, [], {f"h-{name}": SECRET}),
    "Celery protocol 1": lambda name: _celery_1(_free(name), [name, SECRET]),
    "an SNS subject": lambda name: notification(with_data(), Subject=f"{name} {SECRET}"),
    "an SNS attribute": lambda name: notification(
        with_data(), MessageAttributes={name: {"Type": "String", "Value": SECRET}}
    ),
    "an SNS message": lambda name: notification(f"{name}: {SECRET}"),
    "JSON in an SNS message": lambda name: notification(json.dumps({name: SECRET})),
    "JSON in JSON": lambda name: json.dumps(json.dumps({name: SECRET})),
}
"""Bodies with a secret, by shape; each takes the name of the field."""

TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _member(name: str) -> str:
    """Return a member of a `tracestate` with the secret, whose key resembles the name."""
    return f"k{re.sub('[^a-z0-9]', '_', name.lower())[:60]}={SECRET}"


PROPAGATED: Final[dict[str, Callable[[str], str]]] = {
    "a tracestate": lambda name: json.dumps(
        cloud_event(traceparent=TRACEPARENT, tracestate=_member(name))
    ),
    "a second member of a tracestate": lambda name: json.dumps(
        cloud_event(traceparent=TRACEPARENT, tracestate=f"vendor=1,{_member(name)}")
    ),
    "a baggage": lambda name: json.dumps(
        cloud_event(traceparent=TRACEPARENT) | {"baggage": _member(name)}
    ),
    "an actor": lambda name: json.dumps(cloud_event(actor=f"{SECRET} {_member(name)}"[:100])),
    "a source": lambda name: json.dumps(cloud_event(source=f"/{SECRET}/{_member(name)}")),
    "a correlation id": lambda name: json.dumps(
        cloud_event(correlationid=f"{SECRET} {_member(name)}"[:100])
    ),
}
"""Bodies of valid commands with a secret in text that their sender passes on to the events."""
