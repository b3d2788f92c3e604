"""The locks of the project, and the script that checks them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import supply_chain
from scripts.supply_chain import (
    LOCKS,
    LockError,
    advisories,
    audit,
    bill_of_materials,
    differences,
    disagreements,
    installed,
    not_permissive,
    read_lock,
)

ROOT = Path(__file__).parents[2]
HASH = "--hash=sha256:" + "0a" * 32
GOOD = f"celery==5.7.0 \\\n    {HASH}\nColorama==0.4.6 ; sys_platform == 'win32' \\\n    {HASH}\n"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_line_of_a_lock_is_pinned_with_a_hash(path: Path) -> None:
    """It names no index, because the machine's configuration decides where packages come from."""
    locked = list(read_lock(path.read_text()))
    assert locked
    assert all(each.hashes for each in locked)
    assert "://" not in path.read_text()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("celery==5.7.0", "no hash"),
        (f"celery>=5.7 {HASH}", "not pinned"),
        (f"celery==5.* {HASH}", "not pinned"),
        (f"celery==5.7.0,!=5.7.1 {HASH}", "not pinned"),
        (f"celery {HASH}", "not pinned"),
        ("celery==5.7.0 --hash=md5:0a0a", "not a requirement"),
        ("celery==5.7.0 --hash=sha256:0a0a", "not a requirement"),
        (f"celery @ https://example.com/celery.whl {HASH}", "not pinned"),
        ("--index-url https://example.com/simple", "not a requirement"),
        ("-e .", "not a requirement"),
        ("-r other.txt", "not a requirement"),
    ],
)
def test_a_line_that_pins_nothing_is_refused(line: str, says: str) -> None:
    """A line that names another source is refused too: it could install anything."""
    with pytest.raises(LockError, match=says):
        list(read_lock(GOOD + line))


def test_the_locks_agree_with_each_other() -> None:
    """The tested versions are those that the image installs."""
    locks = {path.name: list(read_lock(path.read_text())) for path in LOCKS}
    assert disagreements(locks) == []
    other = list(read_lock(GOOD.replace("5.7.0", "5.7.1")))
    (told,) = disagreements({"a": list(read_lock(GOOD)), "b": other})
    assert told == "celery is 5.7.0 in a, 5.7.1 in b"


def test_what_is_locked_is_what_is_installed() -> None:
    """The tests run with the lock's versions; `make audit` finds additional packages."""
    told = differences(read_lock((ROOT / "requirements-dev.txt").read_text()), installed())
    assert [line for line in told if "not locked" not in line] == []


def test_a_difference_from_the_lock_is_reported() -> None:
    """Missing, of another version, or not locked. Packages for other systems are not missing."""
    told = differences(read_lock(GOOD), {"celery": "5.7.1", "stowaway": "1"})
    assert told == [
        "stowaway 1 is installed, but not locked",
        "celery is locked at 5.7.0, and 5.7.1 installed",
    ]
    assert differences(read_lock(GOOD), {}) == ["celery is locked at 5.7.0, and not installed"]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("LGPL-2.1-only OR MIT", True),
        ("MPL-2.0", True),
        ("", False),
        ("Proprietary", False),
        ("GPL-3.0-only", False),
        ("LGPLv3; GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD; GNU General Public License (GPL)", False),
        ("COMMITTED", False),
    ],
)
def test_a_licence_that_is_not_permissive_is_reported(text: str, good: bool) -> None:
    """A missing licence is reported too, because it allows nothing."""
    assert (not_permissive({"x": text}) == []) is good


def test_the_audit_reports_skipped_advisories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network everything else is checked; required advisories change the exit code."""
    dev = read_lock((ROOT / "requirements-dev.txt").read_text())
    locked = {each.name: each.version for each in dev if each.applies}
    monkeypatch.setattr(supply_chain, "installed", lambda: locked)
    nowhere = (tmp_path / "nobody").as_uri()
    assert audit(nowhere) == 0
    assert audit(nowhere, require_advisories=True) == 2
    monkeypatch.setattr(supply_chain, "installed", lambda: locked | {"stowaway": "1"})
    assert audit(nowhere) == 1
    said = capsys.readouterr().out
    assert said.count("ok ") == 8
    assert said.count("SKIPPED advisories: OSV was not reached") == 3
    assert "FAILED  environment" in said


def _answer(tmp_path: Path, text: str) -> str:
    path = tmp_path / "answer"
    path.write_text(text)
    return path.as_uri()


def test_a_known_vulnerability_is_reported_with_its_package(tmp_path: Path) -> None:
    """In the order of the request."""
    locked = list(read_lock(GOOD))
    rows: list[Any] = [{"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}, {}]
    found = advisories(locked, _answer(tmp_path, json.dumps({"results": rows})))
    assert found == ["celery 5.7.0: GHSA-1", "celery 5.7.0: PYSEC-2"]


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"results":[]}', '{"results":null}'])
def test_an_invalid_answer_does_not_pass_the_check(tmp_path: Path, text: str) -> None:
    """A proxy's page in place of an answer counts as not reached."""
    with pytest.raises(OSError, match="answer"):
        advisories(list(read_lock(GOOD)), _answer(tmp_path, text))


def test_the_bill_of_materials_names_what_the_image_installs(tmp_path: Path) -> None:
    """Each component has version, package URL, hashes and licence; the output is reproducible."""
    path = tmp_path / "build" / "sbom.json"
    assert supply_chain.main(["sbom", "--output", str(path)]) == 0
    bill = json.loads(path.read_text())
    lock = (ROOT / "requirements.txt").read_text()
    locked = {each.name: each for each in read_lock(lock)}
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert [row["name"] for row in bill["components"]] == list(locked)
    for row in bill["components"]:
        each = locked[row["name"]]
        assert row["purl"] == row["bom-ref"] == f"pkg:pypi/{each.name}@{each.version}"
        (reference,) = row["externalReferences"]
        assert {known["content"] for known in reference["hashes"]} == set(each.hashes)
        assert row.get("licenses") or not each.applies
    assert bill["dependencies"][0]["dependsOn"] == [row["bom-ref"] for row in bill["components"]]
    assert bill_of_materials(lock, "1", {}) == bill_of_materials(lock, "1", {})


def test_the_security_rules_are_on_for_all_that_runs() -> None:
    """Ruff's S rules, which are bandit's, are off in tests only, and never by a list of files."""
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert ruff["select"] == ["ALL"]
    assert [rule for rule in ruff["ignore"] if re.match(r"S\d", rule)] == ["S101"]
    without = {
        files: [rule for rule in rules if re.match(r"S(\d|$)", rule)]
        for files, rules in ruff["per-file-ignores"].items()
    }
    assert {files: rules for files, rules in without.items() if rules} == {
        "tests/**": ["S"],
        "benchmarks/**": ["S311"],
    }
