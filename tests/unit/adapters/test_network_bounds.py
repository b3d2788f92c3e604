from __future__ import annotations

import socket
import urllib.request

import boto3
import pytest
from botocore.exceptions import HTTPClientError

OUT_OF_BOUNDS = "is out of bounds"


def test_a_unit_test_reaches_no_address() -> None:
    """A unit test that needs the network fails at once, even on this machine."""
    with socket.socket() as client, pytest.raises(AssertionError, match=OUT_OF_BOUNDS):
        client.connect(("127.0.0.1", 9))


def test_a_unit_test_looks_up_no_name() -> None:
    """It does not ask a name server either, which would be slow or missing."""
    with pytest.raises(AssertionError, match=OUT_OF_BOUNDS):
        urllib.request.urlopen("http://example.com", timeout=1)


def test_a_unit_test_that_forgets_its_fake_reaches_no_real_account() -> None:
    """A client created by accident has fake credentials, and reaches no network either."""
    client = boto3.client("sqs")
    with pytest.raises(HTTPClientError, match=OUT_OF_BOUNDS):
        client.list_queues()
