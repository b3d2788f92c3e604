"""The topic may be given by its ARN, so that the worker needs no permission to list topics."""

from __future__ import annotations

from dataclasses import asdict

import boto3
import pytest

from tests.conftest import ResourceNames
from worker.bootstrap import provision_for_development
from worker.connections import Aws
from worker.errors import CliError
from worker.settings import Settings, load_settings


@pytest.fixture
def by_name(aws_endpoint: str, resource_names: ResourceNames) -> Settings:
    """Existing resources, and settings that name them."""
    settings = load_settings(**asdict(resource_names))
    provision_for_development(settings)
    return settings


def test_an_arn_is_the_topic_that_its_name_is(by_name: Settings) -> None:
    """The command line finds it, and so does a worker that creates its resources."""
    arn = Aws(by_name).topic_arn
    by_arn = by_name.model_copy(update={"events_topic": arn})

    provision_for_development(by_arn)

    assert Aws(by_arn).topic_arn == arn
    pages = boto3.client("sns").get_paginator("list_topics").paginate()
    topics = [topic["TopicArn"] for page in pages for topic in page["Topics"]]
    assert [topic for topic in topics if topic.endswith(by_name.events_topic)] == [arn]


def test_an_arn_of_no_topic_is_missing(by_name: Settings) -> None:
    """One line names the setting."""
    arn = Aws(by_name).topic_arn + "-of-nobody"

    with pytest.raises(CliError, match="USER_WORKER_EVENTS_TOPIC"):
        _ = Aws(by_name.model_copy(update={"events_topic": arn})).topic_arn
