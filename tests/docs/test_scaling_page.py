"""The model that docs/explanation/scaling.md quotes agrees with the worker."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from benchmarks.scale import autoscaling, batches, cost, outbox
from benchmarks.scale.__main__ import main
from benchmarks.scale.contention import Contention
from benchmarks.scale.inputs import DEFAULTS, Inputs
from benchmarks.scale.measured import (
    KINDS,
    LOGIN,
    REGISTRATION,
    ROTATION,
    UPDATE,
    footprint,
)
from benchmarks.targets import CELERY
from tests.deploy.templates import properties, template
from worker.settings import Settings
from worker.transport.options import Options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "scaling.md").read_text()
INPUTS = Inputs.read()


def test_the_processor_times_are_the_benchmarks() -> None:
    """Both are in its committed summary, in the section at AWS's latency."""
    summary = (ROOT / "benchmarks/results/summary.md").read_text().partition("AWS's latency")[2]
    for title, value in (
        ("this worker, prefork, 2 processes", cost.cpu_ms()),
        ("plain Celery on kombu's SQS, tuned, 2 processes", cost.cpu_ms(CELERY)),
    ):
        assert re.search(rf"\| {re.escape(title)} \|[^|]*\| {value:.2f} ", summary), title


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
    ("kind", "units"), [(REGISTRATION, 6.3), (UPDATE, 4.3), (LOGIN, 7.3), (ROTATION, 6.3)]
)
def test_footprints_are_the_budgets_that_hold_on_aws_own_dynamodb(kind: str, units: float) -> None:
    """They are those of tests/integration/test_call_budget.py: 0.6 calls, and these units.

    A registration is published on the personal topic, too.
    """
    taken = footprint(kind, 10)
    assert taken.worker_calls == pytest.approx(0.7 if kind == REGISTRATION else 0.6)
    assert taken.write_units == pytest.approx(units)


def test_prices_and_habits_are_a_readers_to_change(tmp_path: Path) -> None:
    """Doubling the price of a write doubles the cost of writes, and changes nothing else."""
    changed = {"prices": asdict(INPUTS.prices), "habits": asdict(INPUTS.habits)}
    changed["prices"]["write_units_million"] *= 2
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(changed))
    before = cost.this_worker(LOGIN, 10, 90).bill(INPUTS.prices)
    after = cost.this_worker(LOGIN, 10, 90).bill(Inputs.read(file).prices)
    assert after.writes == pytest.approx(2 * before.writes)
    assert after.total - after.writes == pytest.approx(before.total - before.writes)


def inputs_with(**changed: object) -> str:
    """Return a file of inputs with other habits."""
    return json.dumps({"prices": asdict(INPUTS.prices), "habits": asdict(INPUTS.habits) | changed})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\xff",
        '{"prices": {}, "habits": {}}',
        inputs_with(logins="many"),
        inputs_with(logins=-1),
        inputs_with(logins=float("nan")),
        inputs_with(logins=None),
        inputs_with(logins=True),
        inputs_with(peak=0),
        inputs_with(registrations=0, updates=0, logins=0, rotations=0),
        inputs_with(holidays=1),
    ],
)
def test_invalid_inputs_end_the_program_with_one_line(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line names the file, and the exit code is 2."""
    file = tmp_path / "mine.json"
    file.write_text(text, encoding="latin-1")
    monkeypatch.setattr("sys.argv", ["scale", "million", "--inputs", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(file) in line


def test_the_program_names_its_defaults() -> None:
    """The page links to the file that is read."""
    assert str(DEFAULTS.relative_to(ROOT)) in PAGE
    assert json.loads(DEFAULTS.read_text()).keys() == {"about", "prices", "habits"}
    assert len(KINDS) == 4


# --- laws of the simulations ---------------------------------------------------------------


def test_batches_are_formed_by_the_transports_and_the_templates_numbers() -> None:
    """Receivers per queue, and concurrent batches per task."""
    [receivers] = [each.default for each in fields(Options) if each.name == "receivers"]
    assert receivers == batches.RECEIVERS
    assert template("service")["Parameters"]["Concurrency"]["Default"] == batches.CHILDREN


def test_batches_grow_with_the_rate_and_no_larger_than_a_task_may_carry() -> None:
    """One command per batch at low rates, and full batches beyond the capacity."""
    means = [batches.mean_batch(rate) for rate in (0.001, 1, 100, 455, 1_500, 5_000)]
    assert means == sorted(means)
    assert means[0] == 1
    assert means[1] == pytest.approx(1, abs=0.05)
    assert means[-1] == pytest.approx(Settings().batch_size, abs=0.5)


@pytest.mark.parametrize("fifo", [False, True])
def test_every_command_of_a_celebrity_ends(fifo: bool) -> None:
    """Each is done or dead-lettered, once; and a FIFO group has no conflicts."""
    run = Contention(16, seed=1, fifo=fifo).play(60, 20)
    assert run.sent == run.done + run.dead == run.receives.total()
    assert run.commits + run.conflicts > 0
    assert (run.conflicts == 0) is fifo


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    """A figure on the page can be reproduced."""
    runs = [Contention(8, seed=seed).play(20, 20).waits for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_more_workers_relay_sooner_and_more_shards_later() -> None:
    """Never before a pointer's age; with one worker the wait for a shard is bounded."""
    few, many = outbox.crash_lag(1, 8, 2000), outbox.crash_lag(10, 8, 2000)
    assert Settings().relay_age < many.median < few.median < outbox.crash_lag(1, 64, 2000).median
    bound = Settings().relay_age + 8 * 1.5 * Settings().relay_interval
    assert few.worst <= bound + 1.5 * Settings().relay_interval


def test_a_shard_that_is_asked_for_half_of_what_it_takes_is_never_overfull() -> None:
    """At more than its capacity, a shard mostly is overfull."""
    full = outbox.capacity(8, 10)
    assert outbox.overfull(full * 0.5, 8, 10) == 0
    assert outbox.overfull(full * 1.2, 8, 10) > 0.9


def test_more_tasks_end_a_burst_sooner() -> None:
    """A burst that two tasks can handle in time starts no third one."""
    small = autoscaling.respond(50_000)
    assert small.most_tasks == autoscaling.Policy().least
    waits = [
        autoscaling.respond(1_000_000, policy=autoscaling.Policy(most=most)).oldest
        for most in (2, 5, 10, 40)
    ]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > waits[-1]
