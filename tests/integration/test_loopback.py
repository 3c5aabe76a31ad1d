"""The real Runtime client against the loopback server: every call of a job's life."""

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobNotFound,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

from qrnn_qiskit.compiling import compile_program, load_profile
from qrnn_qiskit.compiling.export import widen
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.loopback import LoopbackServer, content_seed, noisy_executor, seed_of_request

pytestmark = pytest.mark.usefixtures("quick_client")

NUM_SHOTS = 40
NUM_ROWS = 5


@pytest.fixture(scope="module")
def server():
    with LoopbackServer(["fake_boston", "fake_manila"]) as server:
        yield server


@pytest.fixture(scope="module")
def service(server):
    return server.service()


@pytest.fixture
def backend(service):
    return service.backend("ibm_boston", use_fractional_gates=True)


@pytest.fixture
def manila(service):
    return service.backend("ibm_manila")


@pytest.fixture(scope="module")
def compiled():
    """Dynamic: measure_2, reset_2, rzz, and if_else on expressions of two registers."""
    cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "feedforward", history=2)
    device = read_target(load_fake_backend("fake_boston"), fractional_gates=True)
    return compile_program(SequenceProgram(cell, 4), device, load_profile("heron_fractional"))


@pytest.fixture
def rows(compiled, rng):
    return rng.uniform(-np.pi, np.pi, (NUM_ROWS, compiled.program.slots.num_slots))


def pub_of(compiled, rows, **metadata):
    """One PUB of many rows over the whole device."""
    circuit = widen(compiled.circuit, compiled.physical_qubits, 156)
    circuit.metadata = metadata
    columns = [compiled.parameter_names.index(each.name) for each in circuit.parameters]
    return circuit, compiled.bind_values(rows)[:, columns]


def bits_of(pub_result, circuit):
    """`(num_rows, num_shots, num_bits)` in the order of the circuit's registers."""
    arrays = [pub_result.data[each.name].to_bool_array(order="little") for each in circuit.cregs]
    return np.concatenate(arrays, axis=-1).astype(np.uint8)


def flip(angle=None):
    """On Manila: a measured X, or SX RZ(angle) SX whose bit is 1 with probability cos^2."""
    circuit = QuantumCircuit(5, 1)
    if angle is None:
        circuit.x(0)
    else:
        circuit.sx(0)
        circuit.rz(angle, 0)
        circuit.sx(0)
    circuit.measure(0, 0)
    return circuit


def result_of(job):
    """Polled faster than every 0.5 s."""
    return job.result(poll_interval=0.1)


def submit(mode, *tags, pubs=None, shots=NUM_SHOTS):
    sampler = Sampler(mode, options={"environment": {"job_tags": list(tags)}})
    return sampler.run(pubs or [flip()], shots=shots)


# --- the account and its devices -----------------------------------------------------------------


def test_login_finds_the_instance_and_its_backends(server, service):
    assert [each["plan"] for each in service.instances()] == ["premium"]
    assert [each.name for each in service.backends()] == ["ibm_boston", "ibm_manila"]
    assert service.active_instance() == service.instances()[0]["crn"]


def test_the_environment_alone_leads_a_plain_service_to_the_server(server):
    with server.use_environment():
        service = QiskitRuntimeService()
    assert service.backend("ibm_manila").num_qubits == 5


def test_fractional_gates_are_there_where_they_are_asked_for(service):
    fractional = {"rx", "rzz"}
    names = set(service.backend("ibm_boston").target.operation_names)
    assert not fractional & names
    assert {"if_else", "measure_2", "reset_2"} <= names
    for wanted in (True, None):
        backend = service.backend("ibm_boston", use_fractional_gates=wanted)
        assert fractional | {"if_else"} <= set(backend.target.operation_names)
    with pytest.raises(IBMInputValueError, match="does not support fractional gates"):
        service.backend("ibm_manila", use_fractional_gates=True)


def test_a_backend_has_the_numbers_of_its_snapshot(service):
    found, expected = service.backend("ibm_boston").target, load_fake_backend("fake_boston").target
    for name, qubits in (("cz", (0, 1)), ("measure_2", (7,)), ("sx", (3,))):
        assert found[name][qubits].error == expected[name][qubits].error
        assert found[name][qubits].duration == expected[name][qubits].duration


def test_a_backend_under_maintenance_says_so(server, manila):
    assert manila.status().status_msg == "active"
    server.backend_status["ibm_manila"] = "maintenance"
    try:
        with pytest.warns(UserWarning, match="status of maintenance"):
            result_of(submit(manila))
    finally:
        server.backend_status.clear()


# --- results -------------------------------------------------------------------------------------


def test_a_dynamic_program_gives_the_bits_of_aer(backend, compiled, rows):
    job = submit(backend, pubs=[(pub := pub_of(compiled, rows))])
    found = bits_of(result_of(job)[0], pub[0])

    seed = seed_of_request(compiled, rows, NUM_SHOTS)
    request = RunRequest(compiled, rows, NUM_SHOTS, seed)
    np.testing.assert_array_equal(found, AerExecutor().run(request).bits)
    # A wrong model: another seed.
    other = RunRequest(compiled, rows, NUM_SHOTS, seed + 1)
    assert (found != AerExecutor().run(other).bits).any()
    assert {"if_else", "measure_2", "reset_2", "rzz"} <= set(pub[0].count_ops())


def test_a_seed_in_the_metadata_is_obeyed(backend, compiled, rows):
    first, second = (pub_of(compiled, rows, seed=seed, part=seed) for seed in (5, 6))
    result = result_of(submit(backend, pubs=[first, second]))
    for seed, pub_result in zip((5, 6), result, strict=True):
        expected = AerExecutor().run(RunRequest(compiled, rows, NUM_SHOTS, seed)).bits
        np.testing.assert_array_equal(bits_of(pub_result, first[0]), expected)
        assert pub_result.metadata["circuit_metadata"] == {"seed": seed, "part": seed}


def test_noisy_bits_are_those_of_noisy_aer(compiled, rows):
    with LoopbackServer(make_executor=noisy_executor) as server:
        backend = server.service().backend("ibm_boston", use_fractional_gates=True)
        found = bits_of(
            result_of(submit(backend, pubs=[pub_of(compiled, rows)]))[0], compiled.circuit
        )
    noise = noise_for(compiled, load_fake_backend("fake_boston"))
    request = RunRequest(compiled, rows, NUM_SHOTS, seed_of_request(compiled, rows, NUM_SHOTS))
    np.testing.assert_array_equal(found, AerExecutor(noise).run(request).bits)
    assert (found != AerExecutor().run(request).bits).any()


def test_the_seed_depends_on_all_content_and_on_nothing_else(compiled, rows):
    circuit, values = pub_of(compiled, rows)
    seed = content_seed(circuit, values, NUM_SHOTS)
    rebuilt = pub_of(compiled, rows, anything=1)[0]
    assert content_seed(rebuilt, values.copy(), NUM_SHOTS) == seed
    assert seed_of_request(compiled, rows, NUM_SHOTS) == seed
    changed = circuit.copy()
    changed.x(compiled.physical_qubits[0])
    others = [
        content_seed(changed, values, NUM_SHOTS),
        content_seed(circuit, values + 1e-12, NUM_SHOTS),
        content_seed(circuit, values, NUM_SHOTS + 1),
    ]
    assert len({seed, *others}) == 4


def test_parameters_broadcast_over_any_shape(manila):
    angle = Parameter("angle")
    angles = np.array([[0.0, np.pi, 0.0], [np.pi, 0.0, np.pi]])
    data = result_of(submit(manila, pubs=[(flip(angle), angles[..., None])]))[0].data
    assert data.c.array.shape == (2, 3, NUM_SHOTS, 1)
    expected = np.broadcast_to(angles[..., None, None] == 0.0, (2, 3, NUM_SHOTS, 1))
    np.testing.assert_array_equal(data.c.to_bool_array(), expected)


def test_several_pubs_and_registers_keep_their_order(manila):
    circuit = QuantumCircuit(5)
    for index, name in enumerate(["b", "a"]):
        circuit.add_register(register := ClassicalRegister(2, name))
        circuit.x(index)
        circuit.measure([0, 1], register)
    result = result_of(submit(manila, pubs=[circuit, flip()], shots=3))
    assert result[0].data.b.get_counts() == {"01": 3}
    assert result[0].data.a.get_counts() == {"11": 3}
    assert result[1].data.c.get_counts() == {"1": 3}


# --- jobs ----------------------------------------------------------------------------------------


def test_a_job_goes_from_queued_to_done(server, manila):
    with server.paused():
        job = submit(manila, "cycle")
        assert job.status() == "QUEUED"
        assert job.usage() == 0
    assert result_of(job)[0].data.c.get_counts() == {"1": NUM_SHOTS}
    assert (job.status(), server.executions["cycle"]) == ("DONE", 1)
    assert job.logs().startswith("loopback")


def test_usage_is_overhead_and_time_per_execution(server, manila):
    job = submit(manila, pubs=[flip()], shots=1000)
    result_of(job)
    properties = load_fake_backend("fake_manila").target
    shot = 250e-6 + properties["x"][0,].duration + properties["measure"][0,].duration
    assert job.usage() == pytest.approx(2 + 1000 * shot)
    metrics = job.metrics()
    assert metrics["usage"]["quantum_seconds"] == job.usage()
    assert metrics["timestamps"]["created"] <= metrics["timestamps"]["finished"]
    assert job.usage_estimation == {"quantum_seconds": job.usage()}


def test_jobs_are_found_by_id_and_by_all_of_their_tags(server, service, manila):
    job = submit(manila, "first", "both")
    other = submit(manila, "second", "both")
    assert [each.job_id() for each in service.jobs(job_tags=["both"])] == [
        other.job_id(),
        job.job_id(),
    ]
    (found,) = service.jobs(job_tags=["both", "first"])
    assert found.job_id() == job.job_id()
    assert service.jobs(job_tags=["first", "second"]) == []
    again = service.job(job.job_id())
    assert again.tags == ["first", "both"]
    assert result_of(again)[0].data.c.get_counts() == {"1": NUM_SHOTS}
    with pytest.raises(RuntimeJobNotFound):
        service.job("nothing")


def test_a_list_of_jobs_has_ten_unless_told_and_pages_of_twenty(server, service, manila):
    jobs = [submit(manila, "many", shots=1).job_id() for _ in range(23)]
    assert [each.job_id() for each in service.jobs(job_tags=["many"])] == jobs[:12:-1]
    before = server.request_counts["GET jobs"]
    everything = service.jobs(limit=None, job_tags=["many"], descending=False)
    assert [each.job_id() for each in everything] == jobs
    assert server.request_counts["GET jobs"] == before + 2


def test_tags_can_be_changed_and_jobs_deleted(server, service, manila):
    job = submit(manila, "old")
    result_of(job)
    assert job.update_tags(["new"]) == ["new"]
    assert service.jobs(job_tags=["old"]) == []
    service.delete_job(job.job_id())
    assert service.jobs(job_tags=["new"]) == []


def test_only_a_pending_job_can_be_cancelled(server, manila):
    with server.paused():
        job = submit(manila, "cancelled")
        job.cancel()
    assert job.status() == "CANCELLED"
    with pytest.raises(RuntimeInvalidStateError, match="was cancelled"):
        result_of(job)
    assert server.executions["cancelled"] == 0
    with pytest.raises(RuntimeInvalidStateError, match="cannot be cancelled"):
        job.cancel()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda circuit: circuit.h(0), "the instruction h on qubits"),
        (lambda circuit: circuit.cx(0, 4), "the instruction cx on qubits"),
    ],
)
def test_a_circuit_that_the_device_cannot_run_fails(server, manila, break_it, reason):
    circuit = flip()
    break_it(circuit)
    job = submit(manila, pubs=[circuit])
    with pytest.raises(RuntimeJobFailureError, match=rf"Error code 1517; {reason}"):
        result_of(job)


def test_nested_branches_and_measurements_in_branches_fail(server, manila):
    inner = QuantumCircuit(5, 1)
    with inner.if_test((inner.clbits[0], 1)):
        inner.measure(1, 0)
    with pytest.raises(RuntimeJobFailureError, match="stands in a branch"):
        result_of(submit(manila, pubs=[inner]))
    nested = QuantumCircuit(5, 1)
    with nested.if_test((nested.clbits[0], 1)), nested.if_test((nested.clbits[0], 0)):
        nested.x(0)
    with pytest.raises(RuntimeJobFailureError, match="nested"):
        result_of(submit(manila, pubs=[nested]))


# --- sessions and batches ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Session, Batch])
def test_jobs_run_in_a_session_or_batch(server, service, manila, mode):
    with mode(manila) as session:
        assert session.status() == "Pending"
        job = submit(session)
        assert job.session_id == session.session_id
        result_of(job)
        assert session.status() == "In progress, accepting new jobs"
        assert [each.job_id() for each in service.jobs(session_id=session.session_id)] == [
            job.job_id()
        ]
        again = mode.from_id(session.session_id, service)
        result_of(submit(again))
    assert session.status() == "Closed"
    assert session.usage() > 0
    if mode is Batch:
        assert session.usage() == pytest.approx(2 * job.usage())
    with pytest.raises(IBMRuntimeError, match="session is closed"):
        submit(session)


def test_a_closed_session_lets_its_jobs_end(server, manila):
    with server.paused():
        session = Session(manila)
        job = submit(session)
        session.close()
        assert session.status() != "Closed"
    result_of(job)
    assert session.status() == "Closed"


def test_a_cancelled_session_cancels_its_jobs(server, manila):
    with server.paused():
        session = Session(manila)
        job = submit(session)
        session.cancel()
    assert job.status() == "CANCELLED"
    assert session.status() == "Closed"


def test_the_open_plan_has_batches_but_no_sessions():
    with LoopbackServer(["fake_manila"], plan="open") as server:
        service = server.service()
        backend = service.backend("ibm_manila")
        with pytest.raises(Exception, match="not authorized to run a session") as caught:
            Session(backend)
        assert type(caught.value).__name__ == "RequestsApiError"
        with Batch(backend) as batch:
            result_of(submit(batch))
        assert service.usage()["usage_remaining_seconds"] < 600


def test_a_used_up_instance_warns_but_takes_jobs():
    with LoopbackServer(["fake_manila"], usage_limit_seconds=1.0) as server:
        backend = server.service().backend("ibm_manila")
        result_of(submit(backend))
        with pytest.warns(UserWarning, match="has met its usage limit"):
            result_of(submit(backend))
