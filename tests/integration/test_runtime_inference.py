"""`qrnn infer --engine runtime` and `qrnn jobs`: locally, and through the real client."""

import shutil

import pytest

from qrnn_qiskit import devices
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.adoption import unsettled_backends
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.studies import forecast_job, run_inference, run_training
from tests.command_line import qrnn, strict_json
from tests.snapshots import full_name, store_two_dates
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of, write_job

RUNTIME = {"num_samples": 5, "num_shots": 60, "calibration_shots": 100, "mitigations": ["local"]}
SMALL = changed(FEEDFORWARD, device_loop=None, control=False, aer=RUNTIME, runtime=RUNTIME)


@pytest.fixture
def trained(tmp_path):
    """A trained run of the small job, with the rows that noisy Aer gave it."""
    return run_training(spec_of(SMALL), runs_root=tmp_path / "runs"), tmp_path / "runs"


def num_jobs(server):
    """By their tags, of which the server tells how often each ran, as it does of ids."""
    return sum(name.startswith("qrnn-") for name in server.executions)


def numbers(rows, engine):
    """Metric and loss of the raw and the mitigated row."""
    return [(row.metric, row.loss) for row in rows if row.label.startswith(engine)]


def test_local_jobs_give_what_aer_gives_and_are_answered_from_the_ledger(trained):
    result, runs = trained
    found = run_inference(spec_of(SMALL), engine="runtime", runs_root=runs)
    assert numbers(found.rows, "runtime fake_boston") == numbers(result.rows, "Aer fake_boston")
    ledger_path = result.run / LEDGER_NAME
    with Ledger(ledger_path, create=False) as ledger:
        before = ledger.records()
    assert [record.state for record in before] == ["done"]
    # Without its records, too: nothing is run again.
    for path in (result.run / "records").glob("runtime*"):
        path.unlink()
    again = run_inference(spec_of(SMALL), engine="runtime", runs_root=runs)
    assert again.rows == found.rows
    with Ledger(ledger_path, create=False) as ledger:
        assert ledger.records() == before


def test_local_jobs_say_which_snapshot_they_ran_on(trained, tmp_path, monkeypatch):
    result, runs = trained
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(tmp_path / "vault"))
    first, second = store_two_dates()
    copy = tmp_path / "copy.json"
    shutil.copy(first.source, copy)
    forecasts, backends = [], []
    # Two files of one content are one backend, whose job is not run twice.
    for backend in (first.name, str(copy), second.name):
        spec = spec_of(SMALL, runtime=RUNTIME | {"backend": backend})
        shutil.rmtree(result.run / "records")
        run_inference(
            spec,
            engine="runtime",
            runs_root=runs,
            confirm=lambda forecast: forecasts.append(forecast) or True,
        )
        assert forecast_job(spec, "infer") == forecasts[-1]
        with Ledger(result.run / LEDGER_NAME, create=False) as ledger:
            backends.append([record.intent.backend for record in ledger.records()])
            assert unsettled_backends(ledger) == []
    names = [full_name(first), full_name(second)]
    assert backends == [names[:1], names[:1], names]
    assert [forecast.backend for forecast in forecasts] == [names[0], names[0], names[1]]
    assert str(tmp_path).encode() not in (result.run / LEDGER_NAME).read_bytes()


def test_adopting_asks_no_service_about_local_jobs(trained, tmp_path, monkeypatch):
    _, runs = trained
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(tmp_path / "vault"))
    snapshot, _ = store_two_dates()
    job = write_job(tmp_path, changed(SMALL, runtime=RUNTIME | {"backend": snapshot.name}))

    def give_up(client, order):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalClient, "submit", give_up)
        stopped = qrnn("infer", job, "--engine", "runtime", "--yes", "--runs", runs)
        assert stopped.exit_code == 130, stopped.stderr
    listed = strict_json(qrnn("jobs", "ls", "--runs", runs, "--unfinished", "--json").stdout)
    assert [job["backend"] for job in listed["jobs"]] == [full_name(snapshot)]

    def refuse(name, **options):
        raise AssertionError(f"the service was asked for {name}")

    monkeypatch.setattr(devices, "fetch_backend", refuse)
    adopted = qrnn("jobs", "adopt", "--runs", runs)
    assert (adopted.exit_code, adopted.stdout) == (0, "")


def test_the_host_loop_sends_a_job_for_every_prefix(tmp_path):
    settings = changed(HOST, device_loop=None, aer=None, runtime=RUNTIME | {"num_samples": 2})
    run_training(spec_of(settings), runs_root=tmp_path)
    forecasts = []
    found = run_inference(
        spec_of(settings),
        engine="runtime",
        runs_root=tmp_path,
        confirm=lambda forecast: forecasts.append(forecast) or True,
    )
    assert len(found.rows) == 2
    (run,) = tmp_path.iterdir()
    with Ledger(run / LEDGER_NAME, create=False) as ledger:
        records = ledger.records()
    # Three prefixes, raw and mitigated, the latter with their calibration.
    assert len(records) == forecasts[0].num_jobs == 6
    assert sum(record.intent.num_rows for record in records) == forecasts[0].num_rows
    # 2 samples in 3 bases, and 4 calibration rows of 60 shots twice for 100.
    assert forecasts[0].num_rows == 3 * (2 * 3) + 3 * (2 * 3 + 4 * 2)


@pytest.mark.parametrize("mode", ["session", "batch", "job"])
def test_a_device_gives_what_aer_gives(trained, mode, boston):
    result, runs = trained
    spec = spec_of(SMALL, runtime=RUNTIME | {"backend": "ibm_boston", "mode": mode})
    found = run_inference(spec, engine="runtime", runs_root=runs)
    assert set(boston.executions.values()) == {1}
    assert numbers(found.rows, "runtime ibm_boston") == numbers(result.rows, "Aer fake_boston")
    with Ledger(result.run / LEDGER_NAME, create=False) as ledger:
        records = ledger.records()
    assert all(record.metrics.usage_seconds > 0 for record in records)


def test_no_token_reaches_a_file(trained, boston):
    _, runs = trained
    spec = spec_of(SMALL, runtime=RUNTIME | {"backend": "ibm_boston", "mode": "job"})
    run_inference(spec, engine="runtime", runs_root=runs)
    token = boston.environment["QISKIT_IBM_TOKEN"]
    assert len(token) > 8
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert token.encode() not in path.read_bytes(), path


def test_no_is_respected_and_the_forecast_is_that_of_the_ledger(trained):
    result, runs = trained
    asked = []
    with pytest.raises(InputError, match="must be confirmed, got no; nothing was sent"):
        run_inference(
            spec_of(SMALL),
            engine="runtime",
            runs_root=runs,
            confirm=lambda forecast: asked.append(forecast) or False,
        )
    (forecast,) = asked
    with Ledger(result.run / LEDGER_NAME) as ledger:
        assert ledger.records() == []
    run_inference(spec_of(SMALL), engine="runtime", runs_root=runs)
    with Ledger(result.run / LEDGER_NAME) as ledger:
        intents = [record.intent for record in ledger.records()]
    assert forecast.num_jobs == len(intents)
    assert forecast.num_executions == sum(i.num_rows * i.num_shots for i in intents)
    total = sum(intent.forecast_seconds for intent in intents)
    assert forecast.qpu_seconds == pytest.approx(total, rel=1e-9)


def test_a_budget_stops_before_it_is_exceeded(trained):
    _, runs = trained
    spec = spec_of(SMALL, runtime=RUNTIME | {"max_qpu_seconds": 0.5})
    with pytest.raises(InputError, match=r"max_qpu_seconds: must cover the next job, got 0\.5 s"):
        run_inference(spec, engine="runtime", runs_root=runs)


def test_the_commands(trained, tmp_path):
    result, runs = trained
    job = write_job(tmp_path, SMALL)
    dry = qrnn("infer", job, "--runs", runs, "--dry-run")
    assert dry.exit_code == 0
    assert "1 job," in dry.stderr
    assert "nothing was sent" in dry.stderr
    assert not (result.run / LEDGER_NAME).exists()
    found = qrnn("infer", job, "--runs", runs, "--backend", "fake_boston", "--json")
    assert found.exit_code == 0, found.output
    assert len(strict_json(found.stdout)["rows"]) == 2
    listed = strict_json(qrnn("jobs", "ls", "--runs", runs, "--json").stdout)["jobs"]
    assert [job["state"] for job in listed] == ["done"]
    assert listed[0]["labels"]["name"] == "tiny"
    shown = qrnn("jobs", "show", listed[0]["job_id"], "--runs", runs)
    assert listed[0]["tag"] in shown.stdout
    exported = qrnn("jobs", "export", tmp_path / "out", "--runs", runs)
    assert exported.exit_code == 0
    assert len(list((tmp_path / "out").glob("*.json"))) == 1
    for arguments, message in (
        (["show", "nothing"], "must name one job, got 'nothing'"),
        (["cancel", listed[0]["job_id"]], "must be under way to be cancelled, got done"),
        (["ls", "--runs", tmp_path / "none"], "must hold a run that has sent jobs"),
    ):
        options = [] if "--runs" in arguments else ["--runs", runs]
        refused = qrnn("jobs", *arguments, *options)
        assert refused.exit_code == 2
        assert message in refused.stderr


def ledger_of(result):
    return Ledger(result.run / LEDGER_NAME, create=False)


LOOP = {"steps": 3, "batch_size": 4, "num_shots": 30, "mitigation": "local"}


@pytest.mark.parametrize("settings", [FEEDFORWARD, HOST])
def test_training_on_a_device_takes_the_steps_that_aer_takes(tmp_path, settings, boston):
    """Same seeds on the service's side: the same losses and weights, to the bit."""
    common = {"control": False, "aer": RUNTIME, "runtime": RUNTIME | {"backend": "ibm_boston"}}
    rehearsed = run_training(
        spec_of(settings, **common, device_loop=LOOP), runs_root=tmp_path / "aer"
    )
    spec = spec_of(settings, **common, device_loop=LOOP | {"on": "runtime"})
    found = run_training(spec, runs_root=tmp_path / "ibm")
    assert set(boston.executions.values()) == {1}
    assert found.device_loop == rehearsed.device_loop
    steps = "3 steps in the loop"
    after = [
        [(row.metric, row.loss) for row in result.rows if steps in row.label]
        for result in (found, rehearsed)
    ]
    assert after[0] == after[1]


def test_a_training_that_a_budget_ends_goes_on_without_paying_twice(tmp_path, boston):
    loop = LOOP | {"on": "runtime"}

    def run(folder, resume=False, **runtime):
        settings = RUNTIME | {"backend": "ibm_boston"} | runtime
        spec = spec_of(SMALL, aer=None, device_loop=loop, runtime=settings)
        return run_training(spec, runs_root=tmp_path / folder, resume=resume)

    with pytest.raises(InputError, match="max_qpu_seconds: must cover the next job, got 6 s"):
        run("broken", max_qpu_seconds=6.0)
    assert num_jobs(boston) == 2
    resumed = run("broken", resume=True, max_qpu_seconds=1000.0)
    assert set(boston.executions.values()) == {1}
    # Three steps, the first with a calibration, and inference with one of its own.
    assert num_jobs(boston) == 4
    (folder,) = (tmp_path / "broken").iterdir()
    with Ledger(folder / LEDGER_NAME, create=False) as ledger:
        assert {record.state for record in ledger.records()} == {"done"}
        assert ledger.spent_seconds(forecast=False) > 6
    # A run of its own, with a ledger of its own, shares no jobs, but gives the same numbers here.
    whole = run("whole")
    assert whole.device_loop == resumed.device_loop
    assert num_jobs(boston) == 8
    assert set(boston.executions.values()) == {1}


def test_a_device_that_cannot_be_reached_is_refused_before_training(tmp_path):
    job = write_job(tmp_path, SMALL)
    refused = qrnn("train", job, "--runs", tmp_path / "runs", "--backend", "fake_nowhere")
    assert refused.exit_code == 2
    assert "runtime.backend: must be a fake backend" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_results_of_a_run_that_was_given_up_are_adopted(trained, tmp_path, boston, monkeypatch):
    _, runs = trained
    runtime = RUNTIME | {"backend": "ibm_boston", "mode": "job"}
    job = write_job(tmp_path, changed(SMALL, runtime=runtime))
    arguments = ("infer", job, "--engine", "runtime", "--yes", "--runs", runs)

    def give_up(executor, part):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RuntimeExecutor, "_collect", give_up)
        stopped = qrnn(*arguments)
        assert stopped.exit_code == 130, stopped.stderr
    assert num_jobs(boston) <= 1
    listed = strict_json(qrnn("jobs", "ls", "--runs", runs, "--unfinished", "--json").stdout)
    assert [job["state"] for job in listed["jobs"]] == ["submitted"]
    boston.wait_for("Completed", listed["jobs"][0]["job_id"])
    adopted = qrnn("jobs", "adopt", "--runs", runs)
    assert adopted.exit_code == 0, adopted.output
    assert "done" in adopted.stdout
    watched = qrnn("jobs", "watch", "--runs", runs)
    assert watched.exit_code == 0
    assert f"{listed['jobs'][0]['job_id']}  done" in watched.stdout
    assert qrnn("jobs", "adopt", "--runs", runs).stdout == ""
    assert qrnn(*arguments).exit_code == 0
    assert set(boston.executions.values()) == {1}
    assert num_jobs(boston) == 1
