"""`qrnn depth`, `qrnn horizon` and `qrnn doctor`: what they print where, and what they refuse."""

import csv
import re
from functools import partial

import pytest
from qiskit import qpy

from qrnn_qiskit.cli.console import out
from qrnn_qiskit.devices.limits import HardwareLimits
from tests.command_line import qrnn, strict_json
from tests.snapshots import full_name, store_two_dates
from tests.unit.studies.jobs import FEEDFORWARD, write_job

PNG = b"\x89PNG\r\n\x1a\n"
BACKENDS = ("--backend", "fake_boston", "--backend", "fake_brisbane")
COMMANDS = ("depth", "horizon", "doctor")


def rows_of(text):
    """Cells of a table's lines, by the first one."""
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        if cells:
            rows.setdefault(cells[0], cells[1:])
    return rows


def files_under(root):
    return {path.relative_to(root) for path in root.rglob("*")}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job file; commands run where it is, so that nothing lands in the repository."""
    monkeypatch.chdir(tmp_path)
    return write_job(tmp_path, FEEDFORWARD)


@pytest.fixture
def wide_job(tmp_path, monkeypatch):
    """Five memory qubits and a readout qubit: six."""
    monkeypatch.chdir(tmp_path)
    return write_job(tmp_path, FEEDFORWARD, model__num_memory=5)


# --- depth ---------------------------------------------------------------------------------------


def test_the_table_of_depths_holds_the_numbers_of_json(job):
    as_json = qrnn("depth", job, *BACKENDS, "--figures", "figures", "--json")
    assert as_json.exit_code == 0, as_json.output
    reports = strict_json(as_json.stdout)["reports"]
    assert [report["backend"] for report in reports] == ["fake_boston", "fake_brisbane"]
    result = qrnn("depth", job, *BACKENDS, "--figures", "figures")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("┏") == 1
    assert result.stdout.startswith("tiny: depth per timestep ")
    rows = rows_of(result.stdout)
    assert rows[""] == ["fake_boston", "fake_brisbane"]
    assert rows["timesteps"] == ["4", "4"]
    for label, key, decimals in (
        ("two-qubit gates", "two_qubit_gates", 1),
        ("two-qubit depth", "two_qubit_depth", 1),
        ("duration, us", "duration_us", 2),
        ("loss lambda", "loss", 4),
        ("waiting", "loss_idle", 4),
    ):
        shown = [cell.split(" (")[0] for cell in rows[label]]
        expected = [f"{report['per_timestep'][key]:.{decimals}f}" for report in reports]
        assert shown == expected
    assert rows["two-qubit gates"][0].endswith(f"({reports[0]['total']['two_qubit_gates']})")
    assert rows["expected success"] == [f"{report['success']:.3f}" for report in reports]
    assert rows["timesteps to 50%"] == [f"{r['timesteps_to_target']:.1f}" for r in reports]
    assert rows["memory waits, share"] == [f"{report['idle_fraction']:.0%}" for report in reports]


def test_more_backends_than_fit_are_several_tables(job, monkeypatch):
    monkeypatch.setattr(out, "_width", 100)
    names = ["fake_boston"] * 5
    more = [f"--backend={name}" for name in names]
    result = qrnn("depth", job, *more, "--timesteps", 1, "--figures", "figures")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("┏") == 2
    assert result.stdout.count("fake_boston") == 5
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", ["depth", "horizon"])
def test_columns_say_which_date_of_a_device_they_are_of(job, tmp_path, monkeypatch, command):
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(tmp_path / "vault"))
    infos = store_two_dates()
    options = [f"--backend={info.name}" for info in infos]
    result = qrnn(command, job, *options, "--figures", "figures")
    assert result.exit_code == 0, result.output
    _, device, date, profile = result.stdout.splitlines()[1:5]
    assert device.count("ibm_boston") == profile.count("heron") == 2
    shown = [f"ibm_boston@{cell.strip()}" for cell in date.split("┃")[2:4]]
    assert shown == [full_name(info) for info in infos]


def test_misfits_are_notes(job):
    more = ("--backend=fake_boston", "--backend=fake_miami")
    result = qrnn("depth", job, *more, "--figures", "figures")
    assert result.exit_code == 0, result.output
    (note,) = [line for line in result.stdout.splitlines() if line.startswith("note")]
    assert "fake_miami with its own: backend: must support if_else" in note
    numbers = strict_json(qrnn("depth", job, *more, "--figures", "figures", "--json").stdout)
    assert [misfit["backend"] for misfit in numbers["misfits"]] == ["fake_miami"]


def test_figures_circuits_and_csv_are_where_they_were_asked_for(job, tmp_path):
    options = {
        "--figures": tmp_path / "a b" / "figures",
        "--csv": tmp_path / "depth.csv",
        "--save": tmp_path / "circuits",
        "--timesteps": 3,
    }
    result = qrnn("depth", job, *(word for option in options.items() for word in option))
    assert result.exit_code == 0, result.output
    written = re.findall(r"^wrote +(.*)$", result.stdout, re.MULTILINE)
    figures = [f"{tmp_path}/a b/figures/{name}.png"
               for name in ("timeline", "loss", "two_qubit_depth")]  # fmt: skip
    assert written[2:] == figures
    for path in figures:
        with open(path, "rb") as file:  # noqa: PTH123
            assert file.read(8) == PNG
    qpy_path, qasm_path = written[:2]
    assert str(tmp_path / "circuits" / "tiny-fake_boston-heron") in qpy_path
    with open(qpy_path, "rb") as file:  # noqa: PTH123
        assert qpy.load(file)[0].num_qubits == 156
    with open(qasm_path) as file:  # noqa: PTH123
        assert file.read().startswith("OPENQASM 3.0;")
    with (tmp_path / "depth.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["backend"], row["num_timesteps"]) == ("fake_boston", "3")
    assert not (tmp_path / "runs").exists()


def test_figures_are_in_runs_if_no_folder_is_named(job, tmp_path):
    assert qrnn("depth", job, "--timesteps=2").exit_code == 0
    assert qrnn("horizon", job).exit_code == 0
    assert {str(path) for path in files_under(tmp_path / "runs") if path.suffix} == {
        "tiny-depth/timeline.png", "tiny-depth/loss.png", "tiny-depth/two_qubit_depth.png",
        "tiny-horizon/horizon.png",
    }  # fmt: skip


def test_depth_keeps_standard_output_pure(job):
    result = qrnn("depth", job, "--json", "--figures", "figures", "--set", "aer.backend=fake_fez")
    assert strict_json(result.stdout)["reports"][0]["backend"] == "fake_fez"
    assert "compile" in result.stderr


# --- horizon -------------------------------------------------------------------------------------


def test_the_table_of_horizons_holds_the_numbers_of_json(job):
    options = ("--figures", "figures", "--budget", 100, "--success", 0.8)
    horizons = strict_json(qrnn("horizon", job, *options, "--json").stdout)["horizons"]
    result = qrnn("horizon", job, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("tiny: largest sequence length T")
    assert "wrote     figures/horizon.png" in result.stdout
    rows = rows_of(result.stdout)
    (horizon,) = horizons
    assert horizon["target_success"] == 0.8
    assert horizon["binding"] == horizon["bounds"][0]["limit"] == "decay to 80% success"
    for item in horizon["bounds"]:
        assert rows[item["limit"]] == [f"{item['max_timesteps']:,}"]
    assert rows["lambda per timestep"] == [f"{horizon['loss_per_timestep']:.4f}"]
    assert rows["timestep, us"] == [f"{horizon['timestep_us']:.2f}"]
    assert "QPU budget of 100 s" in rows


def test_executions_share_the_budget(job):
    options = ("--figures", "figures", "--json", "--budget", 20)
    found = [
        {
            item["limit"]: item["max_timesteps"]
            for item in strict_json(qrnn("horizon", job, *options, "--executions", number).stdout)[
                "horizons"
            ][0]["bounds"]
        }["QPU budget of 20 s"]
        for number in (100, 1_000, 1_000_000)
    ]
    assert found[0] > 9 * found[1] > 0
    assert found[2] == 0


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_says_that_a_job_is_ready(job):
    result = qrnn("doctor", job, "--runs", "none")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    numbers = strict_json(qrnn("doctor", job, "--runs", "none", "--json").stdout)
    assert numbers["passed"]
    assert numbers["num_jobs"] == 1
    assert "tiny on fake_boston with heron" in result.stdout
    assert "T = 4, 6 rows of 50 shots, angles: untrained weights" in result.stdout
    assert f"ready: 1 job, forecast {numbers['qpu_seconds']:.1f} QPU seconds" in result.stdout
    assert "fail" not in result.stdout
    rows = rows_of(result.stdout)
    for item in numbers["findings"]:
        # Long names are wrapped.
        name = next(key for key in rows if key and item["rule"].startswith(key))
        assert rows[name][0] == "pass"
    assert rows["executions per job"][1:] == ["300", "10,000,000"]


def test_doctor_splits(job):
    result = qrnn("doctor", job, "--shots", 5_000_000)
    assert result.exit_code == 0, result.output
    numbers = strict_json(qrnn("doctor", job, "--shots", 5_000_000, "--json").stdout)
    assert numbers["num_jobs"] == len(numbers["jobs"]) > 1
    assert f"ready: {numbers['num_jobs']:,} jobs, forecast" in result.stdout
    assert re.search(r"^split: executions per job: must be at most 10,000,000, got 30,000,000",
                     result.stdout, re.MULTILINE)  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_doctor_exits_with_1_if_a_job_cannot_run(job, monkeypatch, as_json):
    """With IBM's own limits that takes 2,402 timesteps."""
    few = partial(HardwareLimits, max_one_bit_broadcasts=9)
    monkeypatch.setattr("qrnn_qiskit.analysis.preflight.HardwareLimits", few)
    more = ["--json"] if as_json else []
    assert qrnn("doctor", job, "--timesteps", 10, *more).exit_code == 0
    result = qrnn("doctor", job, "--timesteps", 11, *more)
    assert result.exit_code == 1
    assert result.stderr == ""
    if as_json:
        numbers = strict_json(result.stdout)
        assert (numbers["passed"], numbers["jobs"]) == (False, [])
        assert numbers["largest_timesteps"] == 10
    else:
        assert "not ready: this circuit cannot run there" in result.stdout
        assert "largest T that passes: 10" in result.stdout
        assert re.search(r"^fail: broadcasts per job: must be at most 9, got 60 ", result.stdout,
                         re.MULTILINE)  # fmt: skip


# --- what is refused -----------------------------------------------------------------------------


def require_one_line(result, message, tmp_path, before):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error ")
    assert message in line
    assert files_under(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend=fake_bostn"], "got 'fake_bostn'; for example fake_boston"),
        (["--backend=no/such.json"], "no/such.json"),
        (["--backend=fake_miami"], "fake_miami lacks if_else, reset; choose"),
        (["--profile=hreon"], "got 'hreon'; did you mean heron? Shipped are aer,"),
        (["--profile=aer"], "profile aer: layout must be 'search' or 'preset'"),
        (["--profile=eagle"], "profile eagle: two_qubit_gates: must have the entangler of"),
        (["--profile=misspelt.toml"], "misspelt.toml: tilling: must be a known key, got 'step'; "
                                      "did you mean tiling?"),
        (["--backend=corrupt.json"], "corrupt.json"),
        (["--backend=cut.json"], "cut.json"),
        (["--set", "aer.profile=hreon"], "aer.profile: "),
        (["--set", "model.num_memroy=3"], "did you mean num_memory?"),
        (["--set", "aer.backend=fake_x"], "backend: must be a fake backend"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(job, tmp_path, command, options, message):
    (tmp_path / "misspelt.toml").write_text('description = "x"\ntilling = "step"\n')
    (tmp_path / "corrupt.json").write_text('{"configuration": {"n_qubits": 3}, "properties": {}}')
    (tmp_path / "cut.json").write_text('{"configuration": {"n_qu')
    before = files_under(tmp_path)
    more = ["--json"] if command == "horizon" else []
    require_one_line(qrnn(command, job, *options, *more), message, tmp_path, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_is_too_small_is_one_line(wide_job, tmp_path, command):
    before = files_under(tmp_path)
    result = qrnn(command, wide_job, "--backend=fake_manila")
    require_one_line(result, "backend: must have at least 6 qubits, got 5", tmp_path, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_profile_in_the_job_must_exist(job, tmp_path, command):
    text = job.read_text()
    job.write_text(text.replace("[aer]\n", '[aer]\nprofile = "hreon"\n'))
    assert job.read_text() != text
    before = files_under(tmp_path)
    result = qrnn(command, job)
    require_one_line(result, f"{job}: aer.profile: ", tmp_path, before)
    assert "did you mean heron?" in result.stderr


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("depth", ["--timesteps=0"], "--timesteps: must be at least 1, got 0"),
        ("doctor", ["--timesteps=0"], "--timesteps: must be at least 1, got 0"),
        ("doctor", ["--rows=0"], "--rows: must be at least 1, got 0"),
        ("doctor", ["--shots=-1"], "--shots: must be at least 1, got -1"),
        ("doctor", ["--run=nowhere"], "--run: must be the folder of a run, got nowhere"),
        ("horizon", ["--success=1.5"], "--success: must lie between 0 and 1, got 1.5"),
        ("horizon", ["--budget=-1"], "--budget: must be positive, got -1"),
        ("horizon", ["--executions=0"], "--executions: must be at least 1, got 0"),
        ("depth", ["--csv=no/such/a.csv"], "--csv: must be a writable path, got no/such/a.csv"),
        ("depth", ["--csv=."], "--csv: must be a writable path, got ."),
        ("depth", ["--figures=tiny.toml"], "--figures: must be a writable folder, got tiny.toml"),
        ("horizon", ["--figures=tiny.toml"], "--figures: must be a writable folder, got tiny.to"),
        ("depth", ["--save=tiny.toml"], "tiny.toml"),
    ],
)
def test_options_out_of_range_are_one_line(job, tmp_path, command, options, message):
    before = files_under(tmp_path)
    require_one_line(qrnn(command, job, *options), message, tmp_path, before)


def test_a_missing_job_is_one_line(tmp_path):
    for command in COMMANDS:
        result = qrnn(command, tmp_path / "none.toml")
        require_one_line(result, "none.toml: file must exist, got no such file", tmp_path, set())


def test_help_names_the_commands():
    text = qrnn("--help").stdout
    assert all(command in text for command in COMMANDS)
