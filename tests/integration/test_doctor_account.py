"""`qrnn doctor` and the IBM Quantum account: the real client against the loopback server."""

import json
import logging
import re
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from qiskit_ibm_runtime import QiskitRuntimeService

from qrnn_qiskit.cli import doctor
from qrnn_qiskit.devices import BackendReport, Check, read_account, runtime_account
from tests.command_line import qrnn, strict_json
from tests.loopback import Fault, LoopbackServer
from tests.loopback.account import CRN, TOKEN
from tests.unit.studies.jobs import FEEDFORWARD, write_job

WRONG_TOKEN = "wrong-token-4711"
SECRETS = (TOKEN, WRONG_TOKEN, CRN, CRN.split(":")[6], CRN.split(":")[7], "eyJ", "crn:")
VARIABLES = ("TOKEN", "INSTANCE", "CHANNEL", "URL")
ORDER = ["installation", "account", "service", "instance", "plan", "usage", "clock"]
OF_DEVICE = ["device", "status", "queue", "feedforward", "mid-circuit", "fractional", "calibration"]


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch, quick_retries):
    """No account of this machine's, in its environment or its files; runs land in a folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(f"QISKIT_IBM_{name}", raising=False)


@pytest.fixture
def serve(monkeypatch):
    """Starts a server of a plan, calibrated five hours ago, which the environment leads to."""
    servers = []

    def start(plan="premium", backends=("fake_boston",), **options):
        server = LoopbackServer(backends, plan, **options)
        calibrate(server, timedelta(hours=5))
        server.start()
        servers.append(server)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def small(serve):
    """With a device of five qubits, which is quicker to describe."""
    return serve(backends=("fake_manila",))


@pytest.fixture
def job(tmp_path):
    return write_job(tmp_path, FEEDFORWARD)


def calibrate(server, ago):
    moment = (datetime.now(UTC) - ago).isoformat()
    for device in server.devices.values():
        device.properties["last_update_date"] = moment


def examine(*arguments, code=0):
    """Verdict and line of every check, by name; nothing else and no secret is printed."""
    result = qrnn("doctor", *arguments)
    assert result.exit_code == code, result.output
    assert result.stderr == ""
    assert not [secret for secret in SECRETS if secret in result.output]
    found = re.findall(r"^(ok|note|problem) +([a-z-]+) +(.*)$", result.stdout, re.MULTILINE)
    checks = {name: (verdict, line) for verdict, name, line in found}
    assert len(checks) == len(found)
    num_problems = sum(verdict == "problem" for verdict, _, _ in found)
    assert (f"not ready: {num_problems} problem" in result.stdout) == (num_problems > 0)
    return checks


def only_problem(checks):
    (name,) = [name for name, (verdict, _) in checks.items() if verdict == "problem"]
    return name, checks[name][1]


# --- what is found -------------------------------------------------------------------------------


def test_all_is_well_on_a_premium_plan(server):
    checks = examine("--backend", "ibm_boston")
    assert list(checks) == ORDER + OF_DEVICE
    assert {verdict for verdict, _ in checks.values()} == {"ok"}
    lines = {name: line for name, (_, line) in checks.items()}
    version = metadata.version("qiskit-ibm-runtime")
    assert f"qiskit-ibm-runtime {version}" in lines["installation"]
    assert lines["account"] == "from QISKIT_IBM_TOKEN, channel ibm_quantum_platform"
    assert lines["instance"] == "loopback (00000000..., us-east)"
    assert lines["plan"] == "premium: job, batch and session"
    assert lines["usage"] == "0 s used, no limit told"
    assert lines["clock"] == "within 2 s of theirs"
    assert lines["device"] == "ibm_boston, 156 qubits"
    assert lines["status"] == "active"
    assert lines["queue"] == "0 jobs waiting"
    assert lines["feedforward"] == "if_else"
    assert lines["mid-circuit"] == "measure_2, reset_2"
    assert lines["fractional"] == "rzz, rx"
    assert lines["calibration"].startswith("5 h old (")
    assert server.request_counts["POST jobs"] == 0


def test_the_open_plan_has_no_sessions_and_ten_minutes(serve, job):
    serve("open")
    checks = examine()
    assert list(checks) == ORDER
    assert checks["plan"] == ("ok", "open: job and batch")
    assert checks["usage"] == ("ok", "600 s left, 0 s used")


def test_a_job_that_wants_a_session_needs_a_plan_that_has_them(serve, job):
    serve("open")
    wants = ("--set", 'runtime.mode="session"', "--backend", "ibm_boston")
    assert only_problem(examine(job, *wants, code=1)) == (
        "plan",
        'open: job and batch, no session; set runtime.mode to "batch", "job" or "auto"',
    )


def test_time_that_is_used_up_is_a_problem(serve):
    serve(usage_limit_seconds=0)
    name, line = only_problem(examine(code=1))
    assert (name, line) == ("usage", "no quantum time left, 0 s used; wait for the next period, "
                                     "or use another instance")  # fmt: skip


def test_a_forecast_above_what_is_left_is_a_note(serve, job):
    serve(usage_limit_seconds=1)
    verdict, line = examine(job, "--backend", "ibm_boston")["usage"]
    assert verdict == "note"
    assert line.startswith("1 s left, 0 s used, the job's forecast is 2 s; lower num_samples")


def test_a_device_under_maintenance_is_a_problem(server):
    server.backend_status["ibm_boston"] = "maintenance"
    assert only_problem(examine("--backend", "ibm_boston", code=1)) == (
        "status",
        "maintenance: takes jobs but does not run them; "
        "wait until it is active, or choose another device",
    )


def test_an_unknown_device_is_a_problem_that_names_the_known(serve, job):
    serve(backends=("fake_boston", "fake_manila"))
    for arguments in ([], [job]):
        assert only_problem(examine(*arguments, "--backend", "ibm_bostn", code=1)) == (
            "device",
            "ibm_bostn is no device of this account; choose one of ibm_boston, ibm_manila",
        )


def test_what_a_device_lacks_is_a_note_until_a_job_needs_it(serve, job):
    serve(backends=("fake_miami",))
    checks = examine("--backend", "ibm_miami")
    assert [checks[name][0] for name in ("feedforward", "mid-circuit")] == ["note", "note"]
    result = qrnn("doctor", job, "--backend", "ibm_miami")
    assert result.exit_code == 2
    assert re.search("^problem +feedforward +no if_else", result.stdout, re.MULTILINE)
    assert "ibm_miami lacks if_else, reset" in result.stderr


def test_an_old_calibration_is_a_note(small):
    calibrate(small, timedelta(days=10))
    verdict, line = examine("--backend", "ibm_manila")["calibration"]
    assert verdict == "note"
    assert line.startswith("10 days old (")


def test_the_age_of_a_snapshot_is_no_note_and_that_of_a_silent_device_is():
    old = BackendReport("ibm_boston", 156, calibrated=datetime(2025, 1, 2, 3, 4, tzinfo=UTC))
    assert old.check()[-1] == Check("calibration", "ok", "2025-01-02 03:04 UTC")
    silent = replace(old, faults=(Check("status", "problem", "no answer"),))
    assert [check.verdict for check in silent.check()] == ["ok", "note", "problem"]


@pytest.mark.parametrize(
    ("seconds", "verdict", "line"),
    [
        (-200, "note", r"(199|200) s behind theirs; set this machine's clock"),
        (900, "problem", r"90[01] s ahead of theirs; set this machine's clock"),
    ],
)
def test_a_clock_that_is_wrong_is_told(small, monkeypatch, seconds, verdict, line):
    class Clock:
        @staticmethod
        def time():
            return time.time() + seconds

    monkeypatch.setattr(runtime_account, "time", Clock)
    found = examine(code=int(verdict == "problem"))["clock"]
    assert found[0] == verdict
    assert re.match(line, found[1])


def test_an_instance_that_the_client_chose_is_fine_if_it_is_the_only_one(small, monkeypatch):
    """The client warns there, with the instance's name."""
    monkeypatch.delenv("QISKIT_IBM_INSTANCE")
    assert examine()["instance"] == ("ok", "loopback (00000000..., us-east)")
    assert not read_account().instance_is_set


def test_a_saved_account_is_found_by_its_name(server, tmp_path, monkeypatch):
    monkeypatch.delenv("QISKIT_IBM_TOKEN")
    (tmp_path / "home" / ".qiskit").mkdir(parents=True)
    path = tmp_path / "home" / ".qiskit" / "qiskit-ibm.json"
    url = server.environment["QISKIT_IBM_URL"]
    QiskitRuntimeService.save_account(
        TOKEN, url, CRN, filename=str(path), name="mine", set_as_default=True
    )
    assert examine()["account"] == ("ok", "saved as mine, channel ibm_quantum_platform")
    path.write_text('{"mine": {')
    name, line = only_problem(examine(code=1))
    assert name == "account"
    assert line.startswith("~/.qiskit/qiskit-ibm.json holds no account that the client takes")


# --- with a job ----------------------------------------------------------------------------------


def test_the_backend_of_the_jobs_runtime_section_is_asked(server, job):
    checks = examine(job, "--set", 'runtime.backend="ibm_boston"', "--timesteps", "2")
    assert list(checks) == ORDER + OF_DEVICE
    result = qrnn("doctor", job, "--set", "runtime.backend=ibm_boston",
                  "--set", "runtime.num_shots=77")  # fmt: skip
    assert "tiny on ibm_boston with heron" in result.stdout
    assert " of 77 shots" in result.stdout
    assert "ready: 1 job, forecast" in result.stdout


@pytest.mark.parametrize("is_job", [False, True])
def test_a_device_is_fetched_once(server, job, is_job):
    """For what it says of itself, for the rules, and for the forecast of inference."""
    options = (
        [job, "--set", "runtime.backend=ibm_boston"] if is_job else ["--backend", "ibm_boston"]
    )
    result = qrnn("doctor", *options)
    assert ("qrnn infer, with readout calibration: 1 job" in result.stdout) == is_job
    for what in ("configuration", "properties", "status"):
        assert server.request_counts[f"GET backends/*/{what}"] == 1
    assert server.request_counts["POST v3/resources/search"] == 1


def test_a_job_on_this_machine_asks_nobody(server, job):
    checks = examine(job)
    assert list(checks) == ["installation", "account"]
    assert checks["account"][1].endswith(", not asked")
    assert server.requests == []


def test_a_ready_job_is_not_ready_while_the_device_is_not(server, job):
    server.backend_status["ibm_boston"] = "internal"
    result = qrnn("doctor", job, "--backend", "ibm_boston")
    assert result.exit_code == 1
    assert "the job itself is ready: 1 job, forecast" in result.stdout
    assert "not ready: 1 problem, see above" in result.stdout


def test_json_holds_the_same(server, job):
    arguments = (job, "--backend", "ibm_boston")
    result = qrnn("doctor", *arguments, "--json")
    assert not [secret for secret in SECRETS if secret in result.output]
    content = strict_json(result.stdout)
    assert content["passed"]
    assert content["num_jobs"] == 1
    assert content["account"]["modes"] == ["job", "batch", "session"]
    assert content["device"]["operational"]
    printed = examine(*arguments)
    shown = {
        each["name"]: (
            each["verdict"],
            each["found"] + ("; " + each["cure"] if each["cure"] else ""),
        )
        for each in content["checks"]
    }
    assert {**shown, "clock": None} == {**printed, "clock": None}
    server.backend_status["ibm_boston"] = "maintenance"
    result = qrnn("doctor", *arguments, "--json")
    assert result.exit_code == 1
    content = strict_json(result.stdout)
    assert not content["passed"]
    assert content["findings"]
    assert json.loads(qrnn("doctor", "--json").stdout)["device"] is None


# --- what goes wrong -----------------------------------------------------------------------------


def test_without_an_account_there_is_a_note_that_says_how_to_save_one(tmp_path, job):
    for arguments in ([], [job], ["--backend", "fake_boston"]):
        checks = examine(*arguments)
        verdict, line = checks["account"]
        assert verdict == "note"
        assert "save_account(token=" in line
        assert "QISKIT_IBM_TOKEN" in line
    # Nor does looking for one make its folder, as the client would.
    assert not (tmp_path / "home").exists()
    for arguments in (["--backend", "ibm_boston"], [job, "--backend", "ibm_boston"]):
        name, _ = only_problem(examine(*arguments, code=1))
        assert name == "account"


@pytest.mark.parametrize("arguments", [[], ["--backend", "ibm_manila"]])
def test_a_token_that_is_refused_is_a_problem(small, monkeypatch, arguments):
    monkeypatch.setenv("QISKIT_IBM_TOKEN", WRONG_TOKEN)
    checks = examine(*arguments, code=1)
    assert list(checks) == ["installation", "account", "service"]
    _, line = only_problem(checks)
    assert line.startswith("the service refused the token (HTTP 400); make a new API key")
    content = strict_json(qrnn("doctor", *arguments, "--json").stdout)
    assert content["checks"][-1]["cure"] in line
    assert WRONG_TOKEN not in json.dumps(content)


def test_a_server_that_is_not_there_is_a_problem(small):
    small.close()
    name, line = only_problem(examine("--backend", "ibm_manila", code=1))
    assert (name, line) == (
        "service",
        "not reachable; check network, proxy and VPN, then try again",
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("identity/token", "service"),
        ("instances/usage", "usage"),
        ("backends/*/status", "status"),
        ("backends/*/properties", "calibration"),
    ],
)
def test_a_server_that_is_silent_is_a_problem(small, monkeypatch, path, name):
    monkeypatch.setattr(runtime_account, "CALL_SECONDS", 1.5)
    small.faults.add(Fault("hang", "*", path))
    began = time.monotonic()
    found = only_problem(examine("--backend", "ibm_manila", code=1))
    assert time.monotonic() - began < 20
    assert found == (name, "no answer within 1.5 s; check network, proxy and VPN, then try again")
    small.faults.release()


@pytest.mark.parametrize(
    ("fault", "name", "line"),
    [
        (
            Fault("status", "POST", "identity/token", status=503),
            "service",
            "has a fault (HTTP 503)",
        ),
        (
            Fault("status", "POST", "v3/resources/search", status=403),
            "service",
            "refused the token",
        ),
        (Fault("garbage", "POST", "v3/resources/search"), "service", "the service (no JSON)"),
        (Fault("status", "GET", "instances/usage", times=6), "usage", "has a fault (HTTP 5xx)"),
        (Fault("status", "GET", "instances/usage", status=401), "usage", "refused the token"),
        (Fault("garbage", "GET", "instances/usage"), "usage", "what answered is not the service"),
        (Fault("status", "GET", "backends/*/status", status=429), "status", "too many requests"),
        (Fault("status", "GET", "backends/*/status", status=404), "status", "answered HTTP 404"),
        (
            Fault("status", "GET", "backends/*/configuration", status=404),
            "device",
            "ibm_manila is listed, but the service did not describe it",
        ),
        (
            Fault("status", "GET", "backends", status=404, times=9),
            "device",
            "ibm_manila was not found: the service listed no devices",
        ),
    ],
)
def test_each_fault_of_the_service_is_one_line(small, fault, name, line):
    fault.message = f"token {TOKEN}, instance {CRN}"
    small.faults.add(fault)
    found = only_problem(examine("--backend", "ibm_manila", code=1))
    assert found[0] == name
    assert line in found[1]


def test_an_instance_of_someone_else_is_a_problem(small, monkeypatch):
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", CRN.replace("00000000-", "11111111-"))
    name, line = only_problem(examine(code=1))
    assert (name, line.split("; ")[0]) == (
        "service", "the account has no such instance, or none that fits its settings"
    )  # fmt: skip


def test_a_channel_that_does_not_exist_is_a_problem(small, monkeypatch):
    monkeypatch.setenv("QISKIT_IBM_CHANNEL", "ibm_quantum")
    _, line = only_problem(examine(code=1))
    assert line.startswith("QISKIT_IBM_CHANNEL holds no account that the client takes")
    assert small.requests == []


def test_logging_and_warnings_are_as_before_afterwards(small):
    """Its doctor turns them off for as long as it asks."""
    levels = [logging.getLogger(name).level for name in runtime_account._LOGGERS]
    before = list(warnings.filters)
    read_account()
    assert [logging.getLogger(name).level for name in runtime_account._LOGGERS] == levels
    assert warnings.filters == before


# --- options and installation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--shots", "3"], "--shots: must come with a job, got 3 alone"),
        (["--set", "a.b=1"], "--set: must come with a job, got a.b=1 alone"),
        (["--run", "x"], "--run: must come with a job, got x alone"),
        (["--backend", "fake_bostn"], "got 'fake_bostn'; for example fake_boston"),
    ],
)
def test_what_needs_a_job_is_refused_without_one(options, line):
    result = qrnn("doctor", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr


def test_a_package_of_another_version_is_a_problem(monkeypatch):
    version = metadata.version
    monkeypatch.setattr(
        doctor.metadata, "version",
        lambda name: "0.1" if name == "qiskit-ibm-runtime" else version(name),
    )  # fmt: skip
    name, line = only_problem(examine(code=1))
    assert name == "installation"
    assert line.startswith("qiskit-ibm-runtime must be <0.52,>=0.51, got 0.1; pip install")


def test_the_file_of_accounts_is_the_clients_own():
    """It is named in the documentation only; `find_account` would miss a file elsewhere."""
    from qiskit_ibm_runtime.accounts import management

    relative = runtime_account._account_file().relative_to(Path.home())
    assert Path(management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE).parts[-2:] == relative.parts
