"""What is left of a study, by the jobs in its run's ledger."""

import pytest

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.ledger import LEDGER_NAME, Intent, Ledger
from qrnn_qiskit.studies.forecast import forecast_job, read_sent
from qrnn_qiskit.studies.runtime_target import _round_up
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of

RUNTIME = {"num_samples": 5, "num_shots": 60, "calibration_shots": 100}
LABELS = {"name": "tiny", "study": "train", "settings": "5e771465"}


@pytest.fixture
def send(tmp_path):
    """Notes a job in the ledger of the run in `tmp_path`, in one of its states."""
    ends = {
        "submitting": lambda ledger, intent_id: None,
        "submitted": lambda ledger, intent_id: ledger.record_job(intent_id, intent_id),
        "done": lambda ledger, intent_id: ledger.record_result(intent_id, "0"),
        "failed": lambda ledger, intent_id: ledger.record_failure(intent_id, "broken"),
        "cancelled": lambda ledger, intent_id: ledger.record_cancelled(intent_id),
    }
    history = {"planned": (), "submitting": ("submitting",), "submitted": ("submitted",)}

    def send(digit, state, labels=LABELS):
        intent = Intent(digit * 64, "ibm_boston", 2, 10, 2.5, labels | {"part": 1, "num_parts": 1})
        with Ledger(tmp_path / LEDGER_NAME) as ledger:
            ledger.plan(intent)
            if state != "planned":
                ledger.begin_submission(intent.intent_id)
            for step in history.get(state, ("submitted", state)):
                ends[step](ledger, intent.intent_id)
            assert ledger.get(intent.intent_id).state == state
        return intent

    return send


def test_sent_is_what_is_not_sent_again(send, tmp_path):
    states = ["planned", "submitting", "submitted", "done", "failed", "cancelled"]
    intents = {state: send(digit, state) for digit, state in zip("123456", states, strict=True)}
    send("7", "done", LABELS | {"study": "infer"})
    send("8", "done", LABELS | {"settings": "07e25"})
    expected = [intents[state] for state in ("submitting", "submitted", "done")]
    assert read_sent(tmp_path, LABELS) == expected


def test_without_a_ledger_nothing_was_sent_and_none_is_made(tmp_path):
    assert read_sent(None, LABELS) == []
    assert read_sent(tmp_path, LABELS) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_never_counts_below_nothing(send):
    spec = spec_of(FEEDFORWARD, runtime=RUNTIME)
    whole = forecast_job(spec, "infer")
    # More than it is now: the device was compiled for differently then.
    left = whole.less([send(digit, "done") for digit in "1234"] * 100)
    assert (left.num_jobs, left.num_rows, left.num_executions, left.qpu_seconds) == (0, 0, 0, 0)
    assert left.num_circuits == whole.num_circuits


def test_rows_whose_shots_are_split_count_once_for_each_job():
    num_shots = 2 * HardwareLimits().max_executions_per_job
    whole = forecast_job(spec_of(FEEDFORWARD, runtime=RUNTIME | {"num_shots": num_shots}), "infer")
    # Five samples and four rows of the calibration.
    assert whole.num_jobs > 1
    assert whole.num_rows == whole.num_jobs * (5 + 4)
    assert whole.num_executions == (5 + 4) * num_shots


def test_labels_tell_settings_that_send_other_jobs_apart():
    def labels(study, settings=FEEDFORWARD, **runtime):
        spec = spec_of(changed(settings, runtime=RUNTIME | runtime))
        return spec.job_labels(study)

    for study in ("train", "infer"):
        same = labels(study)
        assert same["study"] == study
        assert labels(study, mode="batch", max_qpu_seconds=3.0) == same
        assert labels(study, mitigations=["none"], num_shots=61) != same
    # One record is read in several ways; in the host loop each way is a run of its own.
    assert labels("infer", mitigations=["m3"]) == labels("infer")
    assert labels("infer", HOST, mitigations=["m3"]) != labels("infer", HOST)


@pytest.mark.parametrize(
    ("seconds", "rounded"),
    [(0.2, 1), (9.0, 9), (9.1, 10), (14.0, 14), (14.01, 15), (100.0, 100), (101.0, 110),
     (2251.0, 2300)],
)  # fmt: skip
def test_budgets_are_round_numbers(seconds, rounded):
    assert _round_up(seconds) == rounded
