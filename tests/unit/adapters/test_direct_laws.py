"""Laws of the hot calls over all bodies and answers, and when they are left to botocore."""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.awsrequest import AWSRequest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from adapters.aws import client as aws
from adapters.aws.fast_calls import use_fast_calls
from adapters.aws.fast_calls.call import LEARNING_CALLS, _read
from adapters.aws.fast_calls.operations import OPERATIONS, NotPlainError, Operation, quote
from tests.unit.adapters.scripted_aws import CALLS, PLAIN, published, reply, scripted_aws

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from('{"a %+&=/:~-_.\n}é'), max_size=40
)
values = st.recursive(
    st.builds(lambda text: {"S": text}, texts)
    | st.builds(lambda number: {"N": str(number)}, st.integers())
    | st.builds(lambda flag: {"BOOL": flag}, st.booleans())
    | st.just({"NULL": True}),
    lambda inner: (
        st.builds(lambda items: {"L": items}, st.lists(inner, max_size=3))
        | st.builds(lambda members: {"M": members}, st.dictionaries(texts, inner, max_size=3))
    ),
    max_leaves=8,
)
items = st.dictionaries(texts, values, max_size=5)
requests: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "BatchGetItem": st.fixed_dictionaries(
        {
            "RequestItems": st.dictionaries(
                st.text(st.sampled_from("abc.-_"), min_size=3, max_size=5),
                st.fixed_dictionaries(
                    {"Keys": st.lists(items, max_size=4), "ConsistentRead": st.booleans()}
                ),
                max_size=2,
            )
        }
    ),
    "TransactWriteItems": st.fixed_dictionaries(
        {
            "TransactItems": st.lists(
                st.builds(
                    lambda kind, item, values: {
                        kind: {
                            "TableName": "users",
                            ("Item" if kind == "Put" else "Key"): item,
                            "ConditionExpression": "a = :v",
                            "ExpressionAttributeValues": values,
                        }
                    },
                    st.sampled_from(["Put", "Delete"]),
                    items,
                    items,
                ),
                max_size=4,
            ),
            "ClientRequestToken": texts,
        }
    ),
    "DeleteItem": st.fixed_dictionaries({"TableName": texts, "Key": items}),
    "Query": st.fixed_dictionaries(
        {"TableName": texts, "KeyConditionExpression": texts, "ExpressionAttributeValues": items},
        optional={
            "ConsistentRead": st.booleans(),
            "Limit": st.integers(1, 1000),
            "ExclusiveStartKey": items,
            "ProjectionExpression": texts,
            "ExpressionAttributeNames": st.dictionaries(texts, texts, max_size=3),
        },
    ),
    "PublishBatch": st.fixed_dictionaries(
        {
            "TopicArn": texts,
            "PublishBatchRequestEntries": st.lists(
                st.fixed_dictionaries(
                    {"Id": texts, "Message": texts},
                    optional={
                        "MessageAttributes": st.dictionaries(
                            texts,
                            st.fixed_dictionaries({"DataType": texts, "StringValue": texts}),
                            max_size=3,
                        ),
                        "MessageGroupId": texts,
                        "MessageDeduplicationId": texts,
                    },
                ),
                min_size=1,
                max_size=3,
            ),
        }
    ),
    "ReceiveMessage": st.fixed_dictionaries(
        {"QueueUrl": texts, "MaxNumberOfMessages": st.integers(1, 10)},
        optional={"MessageSystemAttributeNames": st.lists(texts, max_size=3)},
    ),
    "DeleteMessageBatch": st.fixed_dictionaries(
        {
            "QueueUrl": texts,
            "Entries": st.lists(
                st.fixed_dictionaries({"Id": texts, "ReceiptHandle": texts}), max_size=3
            ),
        }
    ),
}
messages = st.fixed_dictionaries(
    {"MessageId": texts, "ReceiptHandle": texts, "Body": texts},
    optional={"MD5OfBody": texts, "Attributes": st.dictionaries(texts, texts, max_size=3)},
)
rows = st.fixed_dictionaries({"Id": texts})
answers: dict[str, st.SearchStrategy[Any]] = {
    "BatchGetItem": st.fixed_dictionaries(
        {"Responses": st.dictionaries(texts, st.lists(items, max_size=3), max_size=2)},
        optional={"UnprocessedKeys": st.just({})},
    ),
    "TransactWriteItems": st.just({}),
    "DeleteItem": st.just({}),
    "Query": st.fixed_dictionaries(
        {"Items": st.lists(items, max_size=3), "Count": st.integers(0, 9)},
        optional={"ScannedCount": st.integers(0, 9), "LastEvaluatedKey": items},
    ),
    "ReceiveMessage": st.fixed_dictionaries(
        {}, optional={"Messages": st.lists(messages, max_size=3)}
    ),
    "DeleteMessageBatch": st.fixed_dictionaries(
        {"Successful": st.lists(rows, max_size=3)}, optional={"Failed": st.just([])}
    ),
}


@cache
def client(service: Any) -> Any:
    """Create a client, for the description of its service."""
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    return session.client(service, config=aws.config())


def operation_of(name: str) -> tuple[Operation, Any]:
    """Return an operation and botocore's description of it."""
    service = CALLS[name][0]
    [operation] = [each for each in OPERATIONS[service] if each.name == name]
    return operation, client(service).meta.service_model.operation_model(name)


@given(texts)
def test_quoting_is_the_standard_librarys(text: str) -> None:
    """Only faster."""
    assert quote(text) == quote_plus(text)


def test_every_character_of_ascii_is_quoted_as_by_the_standard_library() -> None:
    """One by one, and all in one text."""
    every = "".join(map(chr, range(128)))
    assert [quote(char) for char in every] == [quote_plus(char) for char in every]
    assert quote(every[32:127]) == quote_plus(every[32:127])


@pytest.mark.parametrize("name", requests)
@given(data=st.data())
def test_a_body_is_rendered_as_botocore_does(name: str, data: st.DataObject) -> None:
    """Byte for byte, whatever is in it."""
    operation, model = operation_of(name)
    parameters = data.draw(requests[name])
    protocol = model.service_model.metadata["protocol"]
    serializer = create_serializer(protocol, include_validation=False)
    sent = serializer.serialize_to_request(parameters, model)["body"]
    expected: Any = AWSRequest("POST", "https://aws", data=sent).body
    try:
        body = operation.render(parameters)
    except Exception:  # noqa: BLE001 - then botocore renders it
        assert b"null" in expected
    else:
        assert body == expected


NULLS_IN_TEXT = [
    '["command",null,{"code":null}]',  # a stored event without a sequence
    '{"until": null}',
    "null",
    'a\\": null',
    'a\\\\": null',
    '": null, "x": null',
    "\\",
]
"""None of these is a null, and botocore sends and parses each unchanged."""


@pytest.mark.parametrize("text", NULLS_IN_TEXT)
def test_the_word_null_in_a_text_is_not_a_null_value(text: str) -> None:
    """Every outcome without a sequence has one, and such transactions are not left to botocore."""
    operation, model = operation_of("DeleteItem")
    parameters = {"TableName": "t", "Key": {"pk": {"S": text}, "sk": {"S": text}}}
    serializer = create_serializer(
        model.service_model.metadata["protocol"], include_validation=False
    )
    assert (
        operation.render(parameters) == serializer.serialize_to_request(parameters, model)["body"]
    )
    for separators in ((",", ":"), (", ", ": ")):
        item = {"pk": {"S": text}, "sk": {"S": "x"}}
        answer = json.dumps({"Responses": {"t": [item, item]}}, separators=separators).encode()
        ours, theirs = parsed("BatchGetItem", answer)
        assert ours == theirs
        assert ours is not None
        messages = {"Messages": [{"MessageId": "1", "ReceiptHandle": "r", "Body": text}] * 2}
        ours, theirs = parsed(
            "ReceiveMessage", json.dumps(messages, separators=separators).encode()
        )
        assert ours == theirs
        assert ours is not None


@pytest.mark.parametrize("name", [r"a", "a\\", 'a"', 'a\\"'])
def test_a_null_that_is_one_is_left_to_botocore(name: str) -> None:
    """The end of its name does not matter."""
    operation, _ = operation_of("DeleteItem")
    with pytest.raises(NotPlainError):
        operation.render({"TableName": "t", "Key": {name: None}})
    with pytest.raises(NotPlainError):
        operation.render({"TableName": "t", "Key": {"x": {"L": [{"S": "a"}, None]}}})
    for separators in ((",", ":"), (", ", ": ")):
        answer = json.dumps(
            {"Responses": {"t": [{name: {"M": {name: None}}}]}}, separators=separators
        )
        assert parsed("BatchGetItem", answer.encode())[0] is None


def parsed(name: str, body: bytes) -> tuple[Any, Any]:
    """Read an answer in both ways."""
    operation, model = operation_of(name)
    http = reply(body)
    protocol = model.service_model.metadata["protocol"]
    response = {"body": body, "headers": http.headers, "status_code": 200}
    theirs = create_parser(protocol).parse(response, model.output_shape)
    theirs["ResponseMetadata"]["RetryAttempts"] = 0
    return _read(operation, http), theirs


@pytest.mark.parametrize("name", answers)
@given(data=st.data())
def test_an_answer_is_read_as_botocore_does(name: str, data: st.DataObject) -> None:
    """Every plain one is read, and none differently."""
    answer = data.draw(answers[name])
    body = json.dumps(answer, ensure_ascii=data.draw(st.booleans())).encode()
    ours, theirs = parsed(name, body)
    if ours is None:
        assert any(mark in body for mark in (b"null", b'"B"', b'"BS"'))
    else:
        assert ours == theirs


@given(st.lists(st.tuples(st.sampled_from(["0", "17", "a-b"]), texts.map(str.strip)), max_size=3))
def test_a_publication_is_read_as_botocore_does(results: list[tuple[str, str]]) -> None:
    """As above, in XML."""
    xml = "".join(
        f"<member><Id>{key}</Id><MessageId>{quote(text)}</MessageId></member>"
        for key, text in results
    )
    ours, theirs = parsed("PublishBatch", published(f"<Failed/><Successful>{xml}</Successful>"))
    assert ours == theirs


# --- what is left to botocore --------------------------------------------------------------


def requests_of_botocore(operation: str, made: Any, calls: int) -> int:
    """Count how many of so many calls botocore signs itself."""
    signed: list[object] = []
    made.meta.events.register("before-sign", lambda **_: signed.append(None))
    _, method, parameters = CALLS[operation]
    with scripted_aws(operation) as sent:
        for _ in range(calls):
            getattr(made, method)(**parameters)
    assert len(sent.requests) == calls
    return len(signed)


def direct(operation: str) -> Any:
    """Create a client with direct calls."""
    service: Any = CALLS[operation][0]
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    made = session.client(service, config=aws.config())
    use_fast_calls(made)
    return made


@pytest.mark.parametrize("operation", sorted(CALLS))
def test_only_the_first_call_is_botocores(operation: str) -> None:
    """In the normal case; otherwise the tests below would prove nothing."""
    assert requests_of_botocore(operation, direct(operation), 4) == 1


def add_header(request: Any, **_: object) -> None:
    """Send a header that a fast call cannot renew."""
    request.headers["X-New"] = "1"


def change_body(params: Any, **_: object) -> None:
    """Send another body than requested."""
    if isinstance(params["body"], bytes):
        params["body"] += b" "
    else:
        params["body"]["New"] = "1"


def add_query(params: Any, **_: object) -> None:
    """Send to another URL."""
    params["url"] += "?new=1"


def time_out_sooner(context: Any, **_: object) -> None:
    """Set a separate timeout for one call."""
    context["read_timeout"] = 1


def discover(context: Any, **_: object) -> None:
    """Keep an unknown key in the context."""
    context["discovery"] = {}


@pytest.mark.parametrize(
    ("event", "handler"),
    [
        ("before-sign", add_header),
        ("before-call", change_body),
        ("before-call", add_query),
        ("before-call", time_out_sooner),
        ("before-call", discover),
    ],
)
@pytest.mark.parametrize("operation", ["DeleteItem", "PublishBatch"])
def test_what_is_not_understood_is_left_to_botocore(
    operation: str, event: str, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another botocore, or a hook, changes the call: the operation stays with botocore.

    The log has one line about it, because otherwise only the processor time would show it.
    """
    caplog.set_level(logging.INFO, "adapters.aws.fast_calls")
    made = direct(operation)
    made.meta.events.register(event, handler)
    assert requests_of_botocore(operation, made, LEARNING_CALLS - 1) == LEARNING_CALLS - 1
    assert caplog.messages == []
    assert requests_of_botocore(operation, made, 4) == 4
    assert caplog.messages == [f"direct_calls_disabled operation={operation}"]


def test_an_answer_read_otherwise_by_botocore_is_left_to_it() -> None:
    """For example, if a hook corrects the answer."""

    def mend(parsed: Any, **_: object) -> None:
        parsed["More"] = 1

    made = direct("DeleteItem")
    made.meta.events.register("after-call", mend)
    assert requests_of_botocore("DeleteItem", made, 4) == 4


def test_a_trace_of_lambdas_is_left_to_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """It differs with each invocation."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1")
    assert requests_of_botocore("DeleteItem", direct("DeleteItem"), 4) == 4


def test_another_table_is_learnt_for_itself() -> None:
    """Its endpoint may be another: AWS has one per account."""
    made = direct("DeleteItem")
    signed: list[object] = []
    made.meta.events.register("before-sign", lambda **_: signed.append(None))
    with scripted_aws("DeleteItem"):
        for table in ("one", "two", "one", "two"):
            made.delete_item(TableName=table, Key={"pk": {"S": "p"}})
    assert len(signed) == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"TransactItems": [{"Put": {"TableName": "users", "Item": {"pk": {"S": "p"}}}}]},
        {
            "TransactItems": [{"Put": {"TableName": "users", "Item": {"pk": {"B": b"p"}}}}],
            "ClientRequestToken": "t",
        },
        {"TransactItems": 7, "ClientRequestToken": "t"},
    ],
)
def test_parameters_that_need_more_are_left_to_botocore(parameters: dict[str, Any]) -> None:
    """A token that botocore creates, binary values, and invalid parameters."""
    made = direct("TransactWriteItems")
    assert requests_of_botocore("TransactWriteItems", made, 3) == 1
    seen = []
    for each in (client("dynamodb"), made):
        with scripted_aws("TransactWriteItems") as sent:
            try:
                each.transact_write_items(**parameters)
            except Exception as error:  # noqa: BLE001 - compared
                seen.append(str(error))
            else:
                body = json.loads(sent.requests[0].body)
                seen.append(body.pop("ClientRequestToken") and body)
    assert seen[0] == seen[1]


def test_the_plain_answers_are_read_here() -> None:
    """Otherwise the tests above would compare botocore with itself."""
    for name, body in PLAIN.items():
        operation, _ = operation_of(name)
        assert _read(operation, reply(body)) is not None


def test_who_listens_before_sending_hears_of_direct_calls() -> None:
    """They may answer in place of AWS, or fail the call, which botocore then retries."""
    made = direct("DeleteItem")
    heard: list[str] = []
    answers: list[Any] = [None, reply(b"{}"), ConnectionResetError(104, "reset"), None]

    def listen(request: Any, **_: object) -> Any:
        heard.append(request.url)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    _, method, parameters = CALLS["DeleteItem"]
    with scripted_aws("DeleteItem") as sent:
        getattr(made, method)(**parameters)
        made.meta.events.register("before-send", listen)
        getattr(made, method)(**parameters)
        assert len(sent.requests) == 2
        getattr(made, method)(**parameters)
        assert len(sent.requests) == 2
        with pytest.raises(ConnectionResetError):
            getattr(made, method)(**parameters)
    assert len(heard) == 3
