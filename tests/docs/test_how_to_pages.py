"""Following the pages on adding a command and a setting literally works, and the checks pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.changed_tree import changed_tree, run

COMMAND = "docs/how-to/add-a-command.md"
SETTING = "docs/how-to/add-a-setting.md"
TESTS = (
    "tests/unit/domain/test_handlers.py",
    "tests/unit/domain/test_laws.py::test_an_erased_user_contains_no_personal_data_and_does_not_change",
    "tests/unit/domain/test_fields.py",
    "tests/unit/application/messages/test_schema.py",
    "tests/unit/adapters/test_mapper.py",
    "tests/unit/operations/test_contracts.py",
    "tests/unit/clients/test_client_types.py",
    "tests/docs/test_messages_page.py",
    "tests/docs/test_reference_tables.py",
    "tests/docs/test_table_page.py",
    "tests/chaos/test_checker.py::test_a_run_in_peace_has_nothing_wrong",
)
TYPED = ("domain", "application/messages", "adapters/dynamodb/mapper.py")

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.timeout(500)
def test_the_command_of_the_page_works(tmp_path: Path) -> None:
    """Every block goes where its text says; then the contracts, tables, style, types and tests."""
    tree = changed_tree(COMMAND, tmp_path)
    run(tree, "cli", "contracts")
    run(tree, "scripts.reference_tables")
    run(tree, "scripts.client_types")
    assert (tree / "contracts" / "commands" / "ChangeTheme.v1.json").is_file()
    assert (
        "- `theme` (S): Colours of the pages: light, dark or system\n"
        in (tree / "docs/reference/table.md").read_text()
    )
    run(tree, "ruff", "format")
    run(tree, "ruff", "check")
    run(tree, "mypy", *TYPED)

    tested = run(tree, "pytest", "-q", "-p", "no:cacheprovider", "-x", "-n", "0", *TESTS)

    assert " passed" in tested


@pytest.mark.timeout(300)
def test_the_setting_of_the_page_works(tmp_path: Path) -> None:
    """The value goes from the environment to the rule, and the table of settings is written."""
    tree = changed_tree(SETTING, tmp_path)
    run(tree, "scripts.reference_tables")
    settings = (tree / "docs/reference/settings.md").read_text()
    assert "- `LOCK_MINUTES` (`5`): Minutes for which" in settings
    assert "(1 to 1440)" in settings
    run(tree, "ruff", "format")
    run(tree, "ruff", "check")
    run(tree, "mypy", "worker")

    settings = "from worker.settings import load_settings as load; from worker.bootstrap import *"
    first = "batch_policy(load(lock_minutes=7)).user.first_lock == timedelta(minutes=7)"
    (tree / "first_lock.py").write_text(f"{settings}\nassert {first}\n")
    run(tree, "first_lock")
    tested = run(
        tree,
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "tests/unit/worker/test_settings.py",
    )

    assert " passed" in tested
