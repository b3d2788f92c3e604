"""The checks of the pages' code can fail, each in its own way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.checks import check, check_mention
from tests.docs.pages import ROOT, blocks_of, mentions_of
from tests.docs.python import World
from tests.docs.shell import CommandError


def policy(action: str, resource: str) -> str:
    """Return a block with a policy of one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    return f"```json\n{text}\n```"


pytestmark = pytest.mark.xdist_group("pages")  # one process has their AWS
TOP = "/ ".join(each.name for each in ROOT.iterdir() if each.is_dir()) + "/"
WRONG = {
    "no language": ("is held to nothing", "```\nhello\n```"),
    "a language that nobody checks": ("is held to nothing", "```cobol\nSTOP RUN.\n```"),
    "not the file": (
        "not examples/send_boto3.py",
        "<!-- examples/send_boto3.py -->\n```python\nimport boto3\n```",
    ),
    "not in the file": (
        "not in that file",
        "<!-- part of Makefile -->\n```make\nall: nothing\n```",
    ),
    "a module's name": (
        "knows no parse_nothing",
        "<!-- in domain/values.py above \"MAX_NAME\" -->\n```python\nparse_nothing('x')\n```",
    ),
    "a module's attribute": (
        "no attribute 'nope'",
        "<!-- in domain/values.py above \"MAX_NAME\" -->\n```python\nre.nope('x')\n```",
    ),
    "python that fails": ("Expecting", "```python\nimport json\njson.loads('{')\n```"),
    "python that is none": (
        "invalid syntax",
        "<!-- not run: slow -->\n```python\nimport json json\n```",
    ),
    "an import": (
        "No module",
        "<!-- not run: slow -->\n```python\nimport nothing_such\n```",
    ),
    "an imported name": (
        "cannot import",
        "<!-- not run: slow -->\n```python\nfrom json import nope\n```",
    ),
    "an attribute": (
        "no attribute",
        "<!-- not run: slow -->\n```python\nimport json\njson.nope()\n```",
    ),
    "an option of ours": ("No such option", "```sh\nuser-worker send CreateUser --nope\n```"),
    "a command of ours": ("No such command", "```sh\necho $(.venv/bin/user-worker nope)\n```"),
    "a command within quotes": (
        "No such command",
        '```sh\nid="$(user-worker nope)" && echo "$id"\n```',
    ),
    "an option that acts at once": ("no such option", "```sh\nuser-worker --no-completion\n```"),
    "an argument of ours": ("Missing", "```sh\nuser-worker outcome\n```"),
    "a target": ("no such target", "```sh\ncd x && make nothing\n```"),
    "an option of a target": ("no option", "```sh\nmake bench ARGS=--nope\n```"),
    "an option of make run": ("No such option", "```sh\nmake run ARGS=--nope\n```"),
    "a variable of make": ("takes no NOPE", "```sh\nmake run NOPE=1\n```"),
    "a test file": ("there is no", "```sh\nmake test ARGS=tests/nothing.py\n```"),
    "an operation": ("no such operation", "```sh\naws sqs send-massage --queue-url x\n```"),
    "a waiter": ("no such waiter", "```sh\naws dynamodb wait table-exist --table-name x\n```"),
    "a waiter's option": (
        "no option --table",
        "```sh\naws dynamodb wait table-exists --table x\n```",
    ),
    "an operation's option": (
        "no option --queue-urn",
        "```sh\nA=1 aws sqs send-message --queue-urn x\n```",
    ),
    "a template": (
        "there is no",
        "```sh\naws cloudformation deploy --stack-name s --template-file deploy/none.yaml\n```",
    ),
    "a template's parameter": (
        "no parameter Tabel",
        (
            "```sh\naws cloudformation deploy --stack-name s --template-file deploy/resources.yaml"
            " --parameter-overrides Tabel=users\n```"
        ),
    ),
    "a kustomization": ("no kustomization", "```sh\nkubectl apply -k deploy/policies\n```"),
    "a service": ("no such service", "```sh\naws sqz send-message\n```"),
    "a compose service": ("no service nothing", "```sh\ndocker compose up -d nothing\n```"),
    "a script": ("there is no", "```sh\npython examples/nothing.py\n```"),
    "a module to run": ("no module", "```sh\npython -m tests.nothing\n```"),
    "a program": ("not a program", "```sh\nfrobnicate --all\n```"),
    "a placeholder": ("is a redirection", "```sh\necho <user id>\n```"),
    "shell": ("syntax error", "```sh\nif true\n```"),
    "no shell command": ("no command", "```sh\n# nothing\n```"),
    "json": ("Expecting", "```json\n{'a': 1}\n```"),
    "a command that the worker refuses": (
        "NotACommand|not a|MissingField|id",
        '```json\n{"specversion": "1.0", "type": "x", "data": {}}\n```',
    ),
    "an event's fields": (
        "not its fields",
        '```json\n{"specversion": "1.0", "type": "biome.user.UserLocked.v1", "data": {}}\n```',
    ),
    "a policy without bounds": (r"sqs:\*", policy("sqs:*", "a")),
    "a policy's action": ("sqs:Send", policy("sqs:Send", "a")),
    "a policy for everything": ("every resource", policy("sqs:SendMessage", "*")),
    "yaml": ("parsing", "```yaml\na: [\n```"),
    "toml": ("Invalid value", "```toml\na =\n```"),
    "csv": ("as many cells", "```csv\na,b\n1\n```"),
    "the output of nothing": (
        "no such target",
        "<!-- output of make nothing -->\n```\nhello\n```",
    ),
    "the output of another sample": (
        "Eve wins",
        "<!-- output of make run -->\n```\n\ncommand  sample\nBanUser  Eve wins  accepted\n```",
    ),
    "an event that is printed otherwise": (
        "code=EmailTaken command=Ban",
        "<!-- output of make run -->\n```\n<- CommandRejected  1  command=Ban code=EmailTaken\n```",
    ),
    "a layout without a folder": (
        "adapters/ is left out",
        "<!-- layout -->\n```\ndomain/  the business\n```",
    ),
    "a layout with too much": (
        "domain/nothing.py",
        f"<!-- layout -->\n```\n{TOP} the top\ndomain/  nothing.py\n```",
    ),
}


@pytest.mark.parametrize(("said", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(
    said: str, text: str, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check can fail."""
    monkeypatch.chdir(tmp_path)
    (block,) = blocks_of("docs/made-up.md", text)
    with pytest.raises(Exception, match=said):  # each check raises its own error
        check(block, tmp_path, world)


SAID = [
    "`user-worker send --nope`",
    "`make\nnothing`",
    "`docker compose up x`",
    '`{"type": ["biome.user.Nope.v1"]}`',
    '`{"type": [{"prefix": "biome.user.Nope"}]}`',
    '`{"category": ["nope"]}`',
    '`{"category": [{"anything-but": "nope"}]}`',
    '`{"tenant": ["a"]}`',
    '`{"type": }`',
    "`UserCommands(nope=1)`",
    "`worker/nothing.py`",
    "`A=1 .venv/bin/python examples/nothing.py --now`",
    "`cd examples/node && npm ci && node nothing.mjs`",
]


@pytest.mark.parametrize("text", SAID)
def test_what_is_wrong_within_a_sentence_is_found(text: str, tmp_path: Path) -> None:
    """Each check can fail there too."""
    (mention,) = mentions_of("docs/made-up.md", f"Type {text}.\n")
    with pytest.raises((AssertionError, CommandError, KeyError, TypeError, ValueError)):
        check_mention(mention.text, tmp_path)
