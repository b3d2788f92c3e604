"""Check the project's dependencies (`make audit`), or write its bill of materials (`make sbom`).

The form of the locks, the packages installed and the licences are checked without a network.
Advisories for each name and version of the locks come from OSV (https://osv.dev); if OSV does not
answer, the check reports that it was skipped.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
RUNTIME_LOCK: Final = ROOT / "requirements.txt"
DEV_LOCK: Final = ROOT / "requirements-dev.txt"
FUZZ_LOCK: Final = ROOT / "requirements-fuzz.txt"
LOCKS: Final = (
    RUNTIME_LOCK,
    DEV_LOCK,
    ROOT / "requirements-build.txt",
    FUZZ_LOCK,
)
OSV: Final = "https://api.osv.dev/v1/querybatch"
NOT_LOCKED: Final = frozenset({"user-worker", "biome-users", "pip"})
"""The project itself, and packages of the virtual environment."""
PERMISSIVE: Final = re.compile(
    r"\b(MIT(-0)?|BSD|Apache|ASL 2|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|0BSD"
    r"|Public Domain)\b",
    re.IGNORECASE,
)
"""MPL 2.0 binds whoever changes its files, which this project does not."""
COPYLEFT: Final = re.compile(r"\b(A?GPL|GNU|SSPL|EUPL|CC-BY-NC|Commons Clause)", re.IGNORECASE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]
    applies: bool
    """Whether its marker is true on this machine."""


class LockError(Exception):
    """A lock has a line that is not pinned, or that names another source."""


def read_lock(text: str) -> Iterator[Locked]:
    """Yield the requirements of a lock.

    Raises:
        LockError: A line is an option, a URL, not pinned, or has no hash.
    """
    for line in re.sub(
        r"\\\n", " ", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    ).splitlines():
        if line.strip():
            yield _read_line(line)


def _read_line(line: str) -> Locked:
    hashes = tuple(_HASH.findall(line))
    wanted = _HASH.sub("", line).strip()
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise LockError(f"{wanted[:60]!r} is not a requirement") from error
    pins = [spec.version for spec in requirement.specifier if spec.operator == "=="]
    if requirement.url or len(pins) != 1 or len(requirement.specifier) != 1 or "*" in pins[0]:
        raise LockError(f"{requirement.name} is not pinned to one version")
    if not hashes:
        raise LockError(f"{requirement.name} has no hash")
    applies = requirement.marker is None or requirement.marker.evaluate()
    return Locked(canonicalize_name(requirement.name), pins[0], hashes, applies)


# --- checks --------------------------------------------------------------------------------


def differences(
    locked: Iterable[Locked], installed: Mapping[str, str], optional: Iterable[Locked] = ()
) -> list[str]:
    """Return the differences between an environment and its lock; optional packages are allowed."""
    allowed = NOT_LOCKED | {each.name for each in optional}
    by_name = {each.name: each for each in locked if each.applies}
    told = [
        f"{name} {version} is installed, but not locked"
        for name, version in sorted(installed.items())
        if name not in by_name and name not in allowed
    ]
    for name, each in sorted(by_name.items()):
        found = installed.get(name)
        if found != each.version:
            told.append(f"{name} is locked at {each.version}, and {found or 'not'} installed")
    return told


def disagreements(locks: Mapping[str, Iterable[Locked]]) -> list[str]:
    """Return the packages that are locked at different versions."""
    seen: dict[str, tuple[str, str]] = {}
    told = []
    for lock, lines in locks.items():
        for each in lines:
            first = seen.setdefault(each.name, (lock, each.version))
            if first[1] != each.version:
                told.append(f"{each.name} is {first[1]} in {first[0]}, {each.version} in {lock}")
    return told


def installed() -> dict[str, str]:
    """Return the versions of the installed packages."""
    return {canonicalize_name(d.name): d.version for d in metadata.distributions()}


def licence(name: str) -> str:
    """Return the stated licence of a distribution in one line; empty if none is stated."""
    about: Any = metadata.metadata(name)
    classified = [
        text.rpartition("::")[2].strip()
        for text in about.get_all("Classifier") or ()
        if text.startswith("License ::")
    ]
    stated = about.get("License-Expression") or (about.get("License") or "").partition("\n")[0]
    return "; ".join(part for part in (stated[:60].strip(), *classified) if part)


def not_permissive(licences: Mapping[str, str]) -> list[str]:
    """Return licences that require more than attribution; a choice may include such a licence."""
    return [
        f"{name}: {text or 'no licence found'}"
        for name, text in sorted(licences.items())
        if not PERMISSIVE.search(text) or (COPYLEFT.search(text) and " OR " not in text)
    ]


def advisories(locked: Sequence[Locked], url: str = OSV, timeout: float = 20) -> list[str]:
    """Return the known vulnerabilities of the locked packages.

    Raises:
        OSError: The service was not reached, or its answer cannot be parsed.
    """
    asked = [
        {"package": {"name": each.name, "ecosystem": "PyPI"}, "version": each.version}
        for each in locked
    ]
    body = json.dumps({"queries": asked}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  # ours, https
        try:
            results = json.load(answer)["results"]
            complete = len(results) == len(asked)
        except (ValueError, KeyError, TypeError) as error:
            raise OSError("the answer is not from OSV") from error
    if not complete:
        raise OSError("the answer does not cover all packages")
    return [
        f"{each.name} {each.version}: {found['id']}"
        for each, row in zip(locked, results, strict=True)
        for found in row.get("vulns", ())
    ]


def audit(url: str = OSV, *, require_advisories: bool = False) -> int:
    """Run every check; return 1 for a finding, 2 if required advisories were unavailable."""
    locks = {path.name: list(read_lock(path.read_text())) for path in LOCKS if path.exists()}
    runtime, dev = locks[RUNTIME_LOCK.name], locks[DEV_LOCK.name]
    here = installed()
    licences = {each.name: licence(each.name) for each in runtime if each.name in here}
    everything = sorted({(e.name, e.version): e for lines in locks.values() for e in lines}.items())
    failed = [
        _report("locks: pinned, with hashes, and consistent", disagreements(locks)),
        _report("environment: as locked", differences(dev, here, locks.get(FUZZ_LOCK.name, ()))),
        _report(f"licences: {len(licences)} at run time, permissive", not_permissive(licences)),
    ]
    try:
        known = advisories([each for _, each in everything], url)
    except OSError as error:
        reason = getattr(error, "reason", error)
        print(f"SKIPPED advisories: OSV was not reached ({reason}); run it again with a network")
        return 2 if require_advisories and not any(failed) else int(any(failed))
    failed.append(_report(f"advisories: none for {len(everything)} packages", known))
    return int(any(failed))


def _report(promise: str, found: Sequence[str]) -> bool:
    print(f"{'FAILED' if found else 'ok':7} {promise}")
    for line in found:
        print(f"          {line}")
    return bool(found)


# --- the bill of materials -----------------------------------------------------------------


def bill_of_materials(lock: str, version: str, licences: Mapping[str, str]) -> dict[str, Any]:
    """Render a lock as a CycloneDX 1.6 document; the same lock gives the same document.

    https://cyclonedx.org/docs/1.6/json/
    """
    locked = list(read_lock(lock))
    root = f"pkg:pypi/user-worker@{version}"
    components = [_component(each, licences.get(each.name, "")) for each in locked]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "user-worker",
                "version": version,
                "purl": root,
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _component(each: Locked, stated: str) -> dict[str, Any]:
    url = f"pkg:pypi/{each.name}@{each.version}"
    hashes = [{"alg": "SHA-256", "content": value} for value in each.hashes]
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": each.name,
        "version": each.version,
        "purl": url,
        "externalReferences": [{"type": "distribution", "url": url, "hashes": hashes}],
    }
    if stated:
        made["licenses"] = [{"license": {"name": stated}}]
    return made


def write_bill(path: Path) -> None:
    """Write the bill of materials of the image."""
    here = installed()
    lock = RUNTIME_LOCK.read_text()
    licences = {e.name: licence(e.name) for e in read_lock(lock) if e.name in here}
    bill = bill_of_materials(lock, here.get("user-worker", "0"), licences)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{path}: {len(bill['components'])} components")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    auditing = commands.add_parser("audit", help="check locks, environment, licences, advisories")
    auditing.add_argument(
        "--require-advisories", action="store_true", help="exit with 2 if OSV does not answer"
    )
    auditing.add_argument("--osv", default=OSV, metavar="URL", help="address of OSV")
    writing = commands.add_parser("sbom", help="write build/sbom.json")
    writing.add_argument("--output", type=Path, default=ROOT / "build" / "sbom.json")
    options = parser.parse_args(arguments)
    if options.command == "audit":
        return audit(options.osv, require_advisories=options.require_advisories)
    write_bill(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
