"""`user-worker permissions template`: what it prints for a file, and which files it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.app import run
from operations.queue_template import MOST_NAMED_SOURCES
from worker.errors import ExitCode

ROOT = Path(__file__).parents[3]
PRODUCER = """
[[producer]]
name = "{name}"
queues = [{queues}]
principals = [{principals}]
sources = ["*"]
commands = ["*"]
"""


def producer(name: str, queues: str, principals: str = "AROASIGNUP") -> str:
    """Return the part of a file about a producer; queues and principals separated by spaces."""
    lists = {
        field: ", ".join(f'"{each}"' for each in text.split())
        for field, text in {"queues": queues, "principals": principals}.items()
    }
    return PRODUCER.format(name=name, **lists)


class Printed:
    """Runs the command on a file."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._file = folder / "permissions.toml"

    def text(self, content: str) -> str:
        """Return what it prints for a file with this content."""
        code, out, err = self.run(content)
        assert (code, err) == (ExitCode.OK, "")
        return out

    def resources(self, content: str) -> dict[str, Any]:
        """Return the resources of the template that it prints."""
        made: dict[str, Any] = yaml.safe_load(self.text(content))["Resources"]
        return made

    def run(self, content: str) -> tuple[int, str, str]:
        """Return exit code, output and error for a file with this content."""
        self._file.write_text(content)
        code = run(("permissions", "template", str(self._file)))
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Printed:
    """The command, with the names of deploy/resources.yaml."""
    monkeypatch.setenv("USER_WORKER_PRIORITY_QUEUE", "user-commands-priority")
    return Printed(capsys, tmp_path)


def senders(resources: dict[str, Any], policy: str) -> list[str] | None:
    """Return who may send, by a queue's policy; `None` if it does not say."""
    tls, *rest = resources[policy]["Properties"]["PolicyDocument"]["Statement"]
    assert tls["Sid"] == "TlsOnly"
    if not rest:
        return None
    (statement,) = rest
    assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:SendMessage")
    found: list[str] = statement["Condition"]["StringNotLike"]["aws:userid"]
    return found


def test_the_template_of_the_repository_is_current(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of permissions is the only source of the queues and their policies."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("USER_WORKER_PRIORITY_QUEUE", "user-commands-priority")
    for _ in range(2):
        assert run(("permissions", "template", "deploy/permissions.toml")) == ExitCode.OK
        assert capsys.readouterr().out == Path("deploy/queues.yaml").read_text()


def test_each_queue_admits_its_producers_and_the_operators(printed: Printed) -> None:
    """Sessions of a role by the role's id; a user by its own; anything else in both ways."""
    made = printed.resources(
        'operators = ["AROAOPERATOR"]\n'
        + producer("signup", "user-commands", "AROASIGNUP AIDAPERSON 123456789012")
        + producer("office", "office", "AROAOFFICE")
        + producer("all", "*", "AROAALL")
    )
    everywhere = ["AROAALL:*", "AROAOPERATOR:*"]
    assert senders(made, "CommandQueuePolicy") == [
        "123456789012",
        "123456789012:*",
        "AIDAPERSON",
        "AROAALL:*",
        "AROAOPERATOR:*",
        "AROASIGNUP:*",
    ]
    assert senders(made, "OfficeQueuePolicy") == ["AROAALL:*", "AROAOFFICE:*", "AROAOPERATOR:*"]
    assert senders(made, "PriorityQueuePolicy") == everywhere


@pytest.mark.parametrize(
    "content",
    [
        producer("signup", "user-commands", "*"),
        producer("signup", "*", "AROASIGNUP *"),
        "allow_all = true\n",
    ],
)
def test_a_queue_that_anybody_may_send_to_has_no_list(printed: Printed, content: str) -> None:
    """TLS is required all the same."""
    assert senders(printed.resources(content), "CommandQueuePolicy") is None


def test_a_queue_without_producers_and_operators_denies_every_sender(printed: Printed) -> None:
    """A condition without values is invalid, so the denial has no condition."""
    made = printed.resources(producer("signup", "user-commands"))
    _, deny = made["PriorityQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (deny["Effect"], "Condition" in deny) == ("Deny", False)


@pytest.mark.parametrize("setting", [None, "user-commands-priority"])
def test_the_queues_of_the_resources_are_not_created_again(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Both have a policy, even if the worker does not serve the second."""
    if setting is None:
        monkeypatch.delenv("USER_WORKER_PRIORITY_QUEUE")
    made = printed.resources(producer("signup", "user-commands *"))
    assert not [name for name, each in made.items() if each["Type"] == "AWS::SQS::Queue"]
    policies = {name for name, each in made.items() if each["Type"] == "AWS::SQS::QueuePolicy"}
    assert policies == {"CommandQueuePolicy", "PriorityQueuePolicy"}


def test_queues_of_the_settings_do_not_matter(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file alone decides, so that the template is made before the settings are changed."""
    content = producer("office", "b a b user-commands")
    before = printed.text(content)
    monkeypatch.setenv("USER_WORKER_ADDITIONAL_QUEUES", "other,a")
    assert printed.text(content) == before
    outputs = yaml.safe_load(before)["Outputs"]
    assert outputs["AdditionalQueueNames"]["Value"] == "b,a"


def test_fifo_queues_are_seen_in_their_names(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have high throughput, as those of the resources."""
    queues = {"COMMAND": "c", "PRIORITY": "p", "DEAD_LETTER": "d", "QUARANTINE": "q"}
    for name, queue in queues.items():
        monkeypatch.setenv(f"USER_WORKER_{name}_QUEUE", f"{queue}.fifo")
    made = printed.resources(producer("office", "back-office.fifo"))
    queue = made["BackOfficeQueue"]["Properties"]
    assert queue["QueueName"] == "back-office.fifo"
    assert (queue["FifoQueue"], queue["FifoThroughputLimit"]) == ("true", "perMessageGroupId")
    assert "FifoQueue" not in printed.resources(producer("x", "c.fifo")).get("BackOfficeQueue", {})


@pytest.mark.parametrize("count", [1, MOST_NAMED_SOURCES - 2, MOST_NAMED_SOURCES - 1])
def test_it_says_how_the_dead_letter_queue_accepts_the_letters(
    printed: Printed, count: int
) -> None:
    """SQS names ten queues at most, two of which are those of the resources."""
    text = printed.text(producer("office", " ".join(f"q{number}" for number in range(count))))
    (line,) = [line for line in text.splitlines() if "AdditionalQueueArns=" in line]
    assert line.startswith("#")
    names = [arn.rpartition(":")[2] for arn in line.partition("=")[2].split(",")]
    fits = count <= MOST_NAMED_SOURCES - 2
    assert names == ([f"q{number}" for number in range(count)] if fits else ["*"])


def test_every_text_is_a_text_in_yaml(printed: Printed) -> None:
    """Names such as `on` or `1e3` stay texts; an unusual path of the file is one comment line."""
    made = printed.resources(producer("on", "1e3 true null 007", "AROA1 1e9"))
    queues = [e["Properties"]["QueueName"] for e in made.values() if e["Type"] == "AWS::SQS::Queue"]
    assert queues == ["1e3", "true", "null", "007"]
    assert senders(made, "1e3QueuePolicy") == ["1e9", "1e9:*", "AROA1:*"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (producer("a-1", "q") + producer("a1", "r"), "both be named ProducerA1Policy"),
        (producer("a", "b-c b_c"), "both be named BCQueue"),
        (producer("a", "back.office"), "must be names of queues"),
        (producer("a", "q.fifo"), "must all be FIFO or none"),
        (producer("a", "user-commands-dlq"), "queue user-commands-dlq is named twice"),
        ("", "needs a [[producer]]"),
        (producer("a", "q").replace('"*"]\ncommands', '"a b"]\ncommands'), "sources"),
    ],
)
def test_what_cannot_be_deployed_is_one_line(printed: Printed, content: str, problem: str) -> None:
    """The exit code is that of a wrong environment, and nothing is printed."""
    code, out, err = printed.run(content)
    assert (code, out) == (ExitCode.ENVIRONMENT, "")
    assert problem in err
    assert err.count("\n") == 1


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the file."""
    assert run(("permissions", "template", "nowhere.toml")) == ExitCode.ENVIRONMENT
    assert capsys.readouterr().err.startswith("error: nowhere.toml: cannot be read")
