"""Signature Version 4 for requests whose signed headers are cached in advance.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"
DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"


class Signature:
    """Sign a POST to one URL in one scope; the constant parts are computed once."""

    def __init__(
        self, path: str, fixed: dict[str, str], signed: str, region: str, service: str
    ) -> None:
        """Set the headers to sign: `signed` names them, separated by semicolons.

        `fixed` are values by lower-case name; date and token are given with each call.
        """
        self._path = path
        self._fixed = fixed
        self._signed = signed
        self._names = signed.split(";")
        self._region = region
        self._service = service
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def authorization(self, credentials: Any, time: str, body: bytes) -> str:
        """Return the Authorization header; `time` as in X-Amz-Date, `credentials` frozen."""
        values = {
            **self._fixed,
            "x-amz-date": time,
            "x-amz-security-token": credentials.token,
        }
        lines = "\n".join([f"{name}:{values[name]}" for name in self._names])
        digest = sha256(body).hexdigest()
        request = f"POST\n{self._path}\n\n{lines}\n\n{self._signed}\n{digest}"
        day = time[:8]
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        text = f"{ALGORITHM}\n{time}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = _mac(self._signing_key(credentials.secret_key, day), text).hex()
        return (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={self._signed}, Signature={signature}"
        )

    def _signing_key(self, secret: str, day: str) -> bytes:
        cached = self._key  # read once: another thread may replace it
        if cached[:2] == (secret, day):
            return cached[2]
        key = _mac(f"AWS4{secret}".encode(), day)
        for part in (self._region, self._service, "aws4_request"):
            key = _mac(key, part)
        self._key = (secret, day, key)
        return key


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header."""

    access_key: str
    region: str
    service: str
    signed: str

    @classmethod
    def parse(cls, header: str) -> Authorization:
        """Parse a header as botocore writes it.

        Raises:
            ValueError: the header is not of Signature Version 4.
        """
        algorithm, _, rest = header.partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        if algorithm != ALGORITHM or parts.keys() != {"Credential", "SignedHeaders", "Signature"}:
            raise ValueError("not Signature Version 4")
        access_key, _, region, service, _ = parts["Credential"].rsplit("/", 4)
        return cls(access_key, region, service, parts["SignedHeaders"])


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
