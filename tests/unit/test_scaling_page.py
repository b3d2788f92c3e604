"""docs/scaling.md says what `python -m benchmarks.scale` computes, and that is the worker's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from adapters.dynamodb.table import OUTBOX_SHARDS
from benchmarks.scale import autoscaling, batches, cost, growth, outbox
from benchmarks.scale.contention import Contention
from benchmarks.scale.inputs import DEFAULTS, Inputs
from benchmarks.scale.measured import (
    KINDS,
    LOGIN,
    REGISTRATION,
    ROTATION,
    UPDATE,
    footprint,
    index_entry_bytes,
    stored_bytes,
)
from benchmarks.scale.tables import TABLES
from tests.deploy.templates import properties, template
from worker.settings import Settings
from worker.transport.options import Options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text()
TEXT = " ".join(PAGE.split())
QUOTED = dict(re.findall(r"<!-- table (\w+) -->\n(.*?)\n<!-- end of table -->", PAGE, re.DOTALL))
INPUTS = Inputs.read()


def test_every_table_is_quoted() -> None:
    """None is left out, and none is quoted that there is not."""
    assert len(QUOTED) == PAGE.count("<!-- table ")
    assert set(QUOTED) == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_as_it_is_computed(name: str) -> None:
    """A change of the worker, of a price or of a habit changes the page."""
    assert QUOTED[name].strip() == TABLES[name](INPUTS)


# --- the text between the tables -----------------------------------------------------------


def rounded(value: float) -> str:
    """Write a number as the page's text does."""
    return f"{value:,.0f}"


def in_text() -> dict[str, str]:
    """Give what the page's sentences have to say, each with its number computed anew."""
    sizes = stored_bytes()
    ten, most = footprint(REGISTRATION, 10), footprint(ROTATION, 10)
    large = growth.size(10**9, INPUTS)
    month = INPUTS.habits
    mean_units = large.peak_writes / month.peak
    in_line = growth.size(10**8, INPUTS).month / 100
    prices = INPUTS.prices
    burst = autoscaling.respond(1_000_000)
    return {
        "full": f"{OUTBOX_SHARDS} shards, full at {rounded(outbox.capacity(OUTBOX_SHARDS, 10))}",
        "quota": f"40,000 / {most.write_units} = {rounded(40_000 / most.write_units)} token",
        "first day": f"4,000 / {ten.write_units} = {rounded(4_000 // ten.write_units)} registr",
        "message": f"a command has {rounded(footprint(UPDATE, 1).message_bytes)} to "
        f"{rounded(most.message_bytes)} bytes",
        "alone": f"takes {footprint(LOGIN, 1).write_units - footprint(LOGIN, 10).write_units:.1f} "
        "units more",
        "in flight": f"2 x 4 x {Settings().batch_size} = 160, so {120_000 // 160} tasks",
        "idle": f"${cost.idle_worker_month(prices):.2f} a month and worker",
        "partition of a user": f"1,000 / 22 x 10 = {1000 // 2.2:.0f} a second",
        "task": f"{rounded(autoscaling.TASK_RATE)} commands/s each, which is half",
        "vCPU": f"plan with {rounded(autoscaling.TASK_RATE)} commands/s a vCPU",
        "planned": f"planned with {rounded(autoscaling.TASK_RATE)} commands/s each, two at least",
        "first task": f"first task comes {(burst.first_task or 0) / 60:.0f} minutes after",
        "cpu": f"{cost.CPU_MS:.2f} ms each",
        "stored": f"user {sizes['user']:.0f} + address {sizes['email']:.0f} + {month.sessions} x "
        f"(session {sizes['session']:.0f} + index entry {index_entry_bytes()}) bytes) and an "
        f"outcome of {sizes['command']:.0f} bytes",
        "line": f"some ${in_line:.0f} a month for each million users",
        "expiries": f"a unit an expiry, {large.expiries / mean_units:.0%} more",
        "standby": "storage again: "
        f"{(large.bill['writes'] + large.bill['storage']) / large.month:.0%} more at most",
        "habits": f"{month.registrations} registrations (growth), {month.updates} updates, "
        f"{month.logins:.0f} logins, {month.rotations:.0f} token rotations; {month.sessions} "
        "stored sessions",
        "prices": f"DynamoDB {prices.write_units_million} a million write units, "
        f"{prices.read_units_million} a million reads, {prices.storage_gb_month} a GB and month "
        f"and {prices.recovery_gb_month:.2f} for",
        "requests": f"SQS {prices.sqs_requests_million:.2f} and SNS "
        f"{prices.sns_requests_million:.2f} a million requests",
        "provisioned": f"comes to {0.00065 / 3600 * 1e6:.2f} a million when fully used and "
        f"{0.00065 / 3600 * 1e6 / 0.6:.2f} at 60%",
        "FIFO": f"${1.2 * 0.10 + 0.30 + ten.event_bytes / 1000 * 0.017 - 0.05:.2f} a million more: "
        "1.2 requests",
        "pointer": f"2 and the pointer {ten.pointer_units}",
        "migration": f"{growth.size(10**6, INPUTS).migration_hours * 60:.0f} minutes at a million "
        f"users, {growth.size(10**8, INPUTS).migration_hours:.0f} hours at a hundred",
        "migration's process": f"{growth.LOOK_MS} ms to look at an item and {growth.CHANGE_MS} ms "
        f"to change one](migrations.md#how-long-it-takes), {growth.SKIP_MS} for an outcome, which "
        f"are 19 of 20 items: {growth.size(10**6, INPUTS).migrating_hours:.1f} hours at a million, "
        f"{growth.size(10**8, INPUTS).migrating_hours:.0f} at a hundred million",
    }


@pytest.mark.parametrize("what", in_text())
def test_a_number_in_a_sentence_is_computed(what: str) -> None:
    """They are computed here once more."""
    assert in_text()[what] in TEXT


def test_the_processor_times_are_the_benchmarks() -> None:
    """Both are in its committed summary, in the part at AWS's latency."""
    summary = (ROOT / "benchmarks/results/summary.md").read_text().partition("AWS's latency")[2]
    for name, value in (
        ("this worker, prefork, 2 processes", cost.CPU_MS),
        ("plain Celery on kombu's SQS, tuned, 2 processes", cost.CELERY_CPU_MS),
    ):
        assert re.search(rf"\| {re.escape(name)} \|[^|]*\| {value:.2f} ", summary), name


def test_a_migrations_processor_times_are_those_of_its_page() -> None:
    """What is measured there anew has to be computed with here."""
    page = " ".join((ROOT / "docs" / "migrations.md").read_text().split())
    assert f"To change an item takes a process {growth.CHANGE_MS} ms" in page
    looking = f"to look at one takes {growth.LOOK_MS} ms, and an outcome that DynamoDB need not "
    assert f"{looking}send {growth.SKIP_MS} ms" in page


def test_the_simulated_scaling_is_the_templates() -> None:
    """Its numbers are the defaults of deploy/service.yaml."""
    policy = autoscaling.Policy()
    defaults = {
        name: parameter["Default"]
        for name, parameter in template("service")["Parameters"].items()
        if name in {"MinTasks", "MaxTasks", "BacklogPerTask", "OldestSeconds"}
    }
    assert defaults == {
        "MinTasks": policy.least,
        "MaxTasks": policy.most,
        "BacklogPerTask": policy.backlog,
        "OldestSeconds": policy.oldest,
    }
    tracking = properties("service", "ScaleByBacklog")["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["ScaleOutCooldown"] == policy.out_cooldown
    assert tracking["ScaleInCooldown"] == policy.in_cooldown
    steps = properties("service", "ScaleByAge")["StepScalingPolicyConfiguration"]
    assert steps["Cooldown"] == policy.age_cooldown
    assert properties("service", "OldestMessageIsOld")["EvaluationPeriods"] == policy.age_minutes


# --- the model itself ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "units"), [(REGISTRATION, 6.3), (UPDATE, 4.3), (LOGIN, 7.3), (ROTATION, 8.3)]
)
def test_footprints_are_the_budgets_that_hold_on_aws_own_dynamodb(kind: str, units: float) -> None:
    """The same as tests/integration/test_call_budget.py counts there: 0.6 calls, these units."""
    taken = footprint(kind, 10)
    assert taken.worker_calls == pytest.approx(0.6)
    assert taken.write_units == pytest.approx(units)


def test_prices_and_habits_are_a_readers_to_change(tmp_path: Path) -> None:
    """Twice the price of a write is twice what writes cost, and nothing else changes."""
    changed = {"prices": asdict(INPUTS.prices), "habits": asdict(INPUTS.habits)}
    changed["prices"]["write_units_million"] *= 2
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(changed))
    before = cost.this_worker(LOGIN, 10, 90).bill(INPUTS.prices)
    after = cost.this_worker(LOGIN, 10, 90).bill(Inputs.read(file).prices)
    assert after.writes == pytest.approx(2 * before.writes)
    assert after.total - after.writes == pytest.approx(before.total - before.writes)


@pytest.mark.parametrize("text", ["", '{"prices": {}, "habits": {}}'])
def test_inputs_that_are_none_end_the_program_in_words(text: str, tmp_path: Path) -> None:
    """One line of usage and one that names the file, and exit code 2."""
    file = tmp_path / "mine.json"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "million", "--inputs", str(file)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "mine.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_names_its_defaults() -> None:
    """The file that the page links is the one that is read."""
    assert str(DEFAULTS.relative_to(ROOT)) in PAGE
    assert json.loads(DEFAULTS.read_text()).keys() == {"about", "prices", "habits"}
    assert len(KINDS) == 4


# --- laws of the simulations ---------------------------------------------------------------


def test_batches_are_formed_by_the_transports_and_the_templates_numbers() -> None:
    """Receivers of a queue, batches in hand of a task."""
    [receivers] = [each.default for each in fields(Options) if each.name == "receivers"]
    assert receivers == batches.RECEIVERS
    assert template("service")["Parameters"]["Concurrency"]["Default"] == batches.CHILDREN


def test_batches_grow_with_the_rate_and_no_larger_than_a_task_may_carry() -> None:
    """Alone where little comes, and full where more comes than can be done."""
    means = [batches.mean_batch(rate) for rate in (0.001, 1, 100, 455, 1_500, 5_000)]
    assert means == sorted(means)
    assert means[0] == 1
    assert means[1] == pytest.approx(1, abs=0.05)
    assert means[-1] == pytest.approx(Settings().batch_size, abs=0.5)


@pytest.mark.parametrize("fifo", [False, True])
def test_every_command_of_a_celebrity_ends(fifo: bool) -> None:
    """Done or dead, each once; and a FIFO group meets no conflict."""
    run = Contention(16, seed=1, fifo=fifo).play(60, 20)
    assert run.sent == run.done + run.dead == run.receives.total()
    assert run.commits + run.conflicts > 0
    assert (run.conflicts == 0) is fifo


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    """A figure on the page can be had again."""
    runs = [Contention(8, seed=seed).play(20, 20).waits for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_more_workers_relay_sooner_and_more_shards_later() -> None:
    """Never before a pointer's age, and with one worker a shard's turn is bounded."""
    few, many = outbox.crash_lag(1, 8, 2000), outbox.crash_lag(10, 8, 2000)
    assert Settings().relay_age < many.median < few.median < outbox.crash_lag(1, 64, 2000).median
    bound = Settings().relay_age + 8 * 1.5 * Settings().relay_interval
    assert few.worst <= bound + 1.5 * Settings().relay_interval


def test_a_shard_that_is_asked_for_half_of_what_it_takes_is_never_overfull() -> None:
    """And one that is asked for more mostly is."""
    full = outbox.capacity(8, 10)
    assert outbox.overfull(full * 0.5, 8, 10) == 0
    assert outbox.overfull(full * 1.2, 8, 10) > 0.9


def test_more_tasks_end_a_burst_sooner() -> None:
    """And one that two tasks can do in time starts no third."""
    small = autoscaling.respond(50_000)
    assert small.most_tasks == autoscaling.Policy().least
    waits = [
        autoscaling.respond(1_000_000, policy=autoscaling.Policy(most=most)).oldest
        for most in (2, 5, 10, 40)
    ]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > waits[-1]
