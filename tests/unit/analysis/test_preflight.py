"""Every rule with a circuit that keeps it and one that does not, and splits that lose nothing."""

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Instruction, Parameter
from qiskit.circuit.classical import expr
from qiskit.circuit.library import RZZGate
from qiskit.transpiler import InstructionProperties, Target, generate_preset_pass_manager

from qrnn_qiskit.analysis.contract_rules import Finding, tally_circuit
from qrnn_qiskit.analysis.preflight import check_submission
from qrnn_qiskit.analysis.splitting import split_submission
from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram

# A chain of Boston's couplers that work, and the only one that does not.
CHAIN = (0, 1, 2)
BROKEN_COUPLER = (84, 85)
pure = settings(derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
def boston():
    return load_fake_backend("fake_boston")


@pytest.fixture(scope="module")
def target(boston):
    """Boston's target with fractional rzz, at CZ's error and duration."""
    fractional = Target(num_qubits=boston.num_qubits)
    for name in boston.target.operation_names:
        operation = boston.target.operation_from_name(name)
        if name == "if_else":
            fractional.add_instruction(operation, name=name)
        else:
            fractional.add_instruction(operation, dict(boston.target[name]), name=name)
    fractional.add_instruction(RZZGate(Parameter("v")), dict(boston.target["cz"]))
    return fractional


def dynamic_circuit(num_timesteps=1, feedback_delay=0):
    """Steered cell on two memory qubits, read by qubit 1; CZ form."""
    registers = [ClassicalRegister(1, f"m{t}") for t in range(1, num_timesteps + 1)]
    circuit = QuantumCircuit(QuantumRegister(3, "q"), *registers, ClassicalRegister(2, "final"))
    for timestep, register in enumerate(registers):
        if timestep > feedback_delay:
            with circuit.if_test((registers[timestep - 1 - feedback_delay], 1)):
                circuit.sx(0)
                circuit.sx(2)
        circuit.cz(0, 1)
        circuit.measure(1, register[0])
        circuit.reset(1)
    circuit.measure([0, 2], circuit.cregs[-1])
    return circuit


def check(circuit, target, **changes):
    arguments = {
        "physical_qubits": CHAIN[: circuit.num_qubits],
        "num_rows": 1,
        "num_shots": 100,
        "circuit_duration_ns": 10_000.0,
        "parameter_values": None,
        "parameter_names": (),
        "num_timesteps": 1,
    } | changes
    return check_submission(circuit, target, **arguments)


def finding(report, rule):
    (found,) = [item for item in report.findings if item.rule == rule]
    return found


def require_failure(report, rule):
    """The rule fails, alone, and the error is one line that names it, the value and the cure."""
    found = finding(report, rule)
    assert (found.passed, found.splits, report.passed) == (False, False, False)
    assert [item.rule for item in report.failures] == [rule]
    assert report.splits == ()
    assert report.qpu_seconds == 0
    assert found.cure
    with pytest.raises(InputError) as caught:
        report.require_passed()
    message = str(caught.value)
    assert message.startswith(f"submission: {rule}: must be ")
    assert "\n" not in message
    return message


def test_a_dynamic_circuit_passes_every_rule(target):
    report = check(dynamic_circuit(4), target, num_timesteps=4)
    report.require_passed()
    assert [item.rule for item in report.findings if not item.passed] == []
    assert len({item.rule for item in report.findings}) == len(report.findings) == 19
    assert all(item.cure == "" for item in report.findings)
    assert report.num_jobs == 1
    assert report.minutes_to_submit == 0
    # 2 s + (250 us + 10 us) * 100.
    assert report.qpu_seconds == pytest.approx(2.026, rel=1e-12)
    assert report.circuit_seconds == pytest.approx(0.001, rel=1e-12)


def test_a_compiled_program_passes(rng, boston):
    """Qiskit's own preset compilation, over the whole device and with expressions as angles."""
    cell = CellSpec(Ansatz("brick", 3), (Readout("Z", 0), Readout("X", 2)), history=2)
    program = SequenceProgram(cell, 4)
    passes = generate_preset_pass_manager(1, backend=boston, seed_transpiler=1)
    circuit = passes.run(program.circuit)
    names = tuple(parameter.name for parameter in circuit.parameters)
    report = check_submission(
        circuit,
        boston.target,
        range(156),
        num_rows=64,
        num_shots=500,
        circuit_duration_ns=30_000.0,
        parameter_values=rng.uniform(-pi, pi, size=(64, len(names))),
        parameter_names=names,
        num_timesteps=4,
    )
    report.require_passed()
    assert report.num_jobs == 1
    assert report.splits[0].num_executions == 32_000
    # Two bits each of timesteps 1 to 3; the older register was sent a timestep before.
    assert finding(report, "broadcasts per job").value == 3 * 64


# ---- control flow, branches, conditions


def test_only_if_else(target):
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(2)):
        circuit.sx(0)
    circuit.measure(0, 0)
    message = require_failure(check(circuit, target), "control flow")
    assert "got for_loop (instruction 0); flatten" in message


def test_nested_branches_are_refused(target):
    circuit = QuantumCircuit(1, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)), circuit.if_test((circuit.clbits[1], 1)):
        circuit.sx(0)
    message = require_failure(check(circuit, target), "control flow")
    assert "got nested if_else (instruction 1: inside a branch)" in message


def test_targets_without_branches_are_refused():
    miami = load_fake_backend("fake_miami").target
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.sx(0)
    message = require_failure(check(circuit, miami), "control flow")
    assert "the target has none" in message


@pytest.mark.parametrize("name", ["measure", "reset", "reset_2"])
def test_branches_hold_gates_only(target, name):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.sx(0)
    with otherwise:
        if name == "measure":
            circuit.measure(0, 0)
        else:
            circuit.append(Instruction(name, 1, 0, []), [0])
    message = require_failure(check(circuit, target), "branch bodies")
    assert f"got {name} (instruction 1: in a branch, on device qubit 0)" in message


def wide_condition(kind, width):
    register = ClassicalRegister(width, "wide")
    circuit = QuantumCircuit(QuantumRegister(1, "q"), register)
    circuit.measure(0, register[0])
    conditions = {
        "register": (register, 1),
        "expression": expr.bit_and(expr.equal(register, 1), register[0]),
        "bit": (register[0], 1),
        "index": expr.index(register, 0),
    }
    with circuit.if_test(conditions[kind]):
        circuit.sx(0)
    return circuit


@pytest.mark.parametrize("kind", ["register", "expression"])
def test_a_33_bit_register_is_refused_and_a_32_bit_one_is_not(target, kind):
    assert check(wide_condition(kind, 32), target).passed
    message = require_failure(check(wide_condition(kind, 33), target), "condition width")
    assert "must be at most 32 bits an operand, got 33-bit register" in message
    assert "(instruction 1: wide in a condition); split the register" in message


@pytest.mark.parametrize("kind", ["bit", "index"])
def test_single_bits_of_wide_registers_are_allowed(target, kind):
    report = check(wide_condition(kind, 50), target)
    report.require_passed()
    assert finding(report, "broadcasts per job").detail == "1 of 1 bits on average"


def expression_circuit(make):
    registers = [ClassicalRegister(2, name) for name in ("a", "b")]
    circuit = QuantumCircuit(QuantumRegister(1, "q"), *registers)
    circuit.measure(0, registers[0][0])
    with circuit.if_test(make(*registers)):
        circuit.sx(0)
    return circuit


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: expr.less_equal(a, b),
        lambda a, b: expr.not_equal(expr.bit_xor(a, expr.bit_not(b)), 3),
        lambda a, b: expr.logic_or(expr.equal(a, 1), expr.logic_not(b[0])),
    ],
)
def test_bit_operations_and_comparisons_are_allowed(target, make):
    check(expression_circuit(make), target).require_passed()


@pytest.mark.parametrize(
    ("make", "operation"),
    [
        (lambda a, b: expr.equal(expr.add(a, b), 3), "add"),
        (lambda a, b: expr.equal(expr.shift_left(a, 1), b), "shift_left"),
        (lambda a, b: expr.index(a, expr.lift(b)), "computed index"),
    ],
)
def test_arithmetic_in_conditions_is_refused(target, make, operation):
    message = require_failure(check(expression_circuit(make), target), "condition operations")
    assert f"got {operation} (instruction 1: in a condition)" in message


def test_stored_variables_in_conditions_are_refused(target):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    seen = circuit.add_input("seen", expr.lift(circuit.clbits[0]).type)
    with circuit.if_test(seen):
        circuit.sx(0)
    message = require_failure(check(circuit, target), "condition operations")
    assert "got variable seen" in message


# ---- target


def test_foreign_gates_are_refused(target):
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.h(0)
    circuit.measure(0, 0)
    message = require_failure(check(circuit, target), "target instructions")
    assert "got h on device qubit 0 (instruction 0: the target has cz, id, measure" in message
    assert ", and 1 more)" in message


def test_couplers_that_the_device_lacks_are_refused(target):
    circuit = QuantumCircuit(3, 1)
    circuit.cz(0, 2)
    circuit.measure(0, 0)
    message = require_failure(check(circuit, target), "target instructions")
    assert (
        "got cz on device qubits 0, 2 (instruction 0: the target has it, but not there)" in message
    )


def test_instructions_in_branches_are_checked_on_their_device_qubits(target):
    circuit = QuantumCircuit(3, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cz(2, 1)
    assert check(circuit, target).passed
    message = require_failure(check(circuit, target, physical_qubits=(0, 1, 7)),
                              "target instructions")  # fmt: skip
    assert "got cz on device qubits 7, 1 (instruction 1" in message


def test_mid_circuit_instructions_of_the_device_are_allowed_by_name(boston):
    circuit = QuantumCircuit(1, 2)
    circuit.append(Instruction("measure_2", 1, 1, []), [0], [0])
    circuit.append(Instruction("reset_2", 1, 0, []), [0])
    circuit.measure(0, 1)
    check(circuit, boston.target).require_passed()
    torino = load_fake_backend("fake_torino").target
    message = require_failure(check(circuit, torino), "target instructions")
    assert "got measure_2 on device qubit 0" in message


def test_broken_couplers_and_qubits_are_refused(boston, target):
    circuit = QuantumCircuit(2, 1)
    circuit.cz(0, 1)
    circuit.measure(0, 0)
    message = require_failure(
        check(circuit, target, physical_qubits=BROKEN_COUPLER), "usable qubits"
    )
    assert "got error 1.0 (instruction 0: cz on device qubits 84, 85); choose a layout" in message
    kingston = load_fake_backend("fake_kingston").target
    message = require_failure(check(_measured(), kingston, physical_qubits=(146,)),
                              "usable qubits")  # fmt: skip
    assert "measure on device qubit 146" in message


def _measured():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("error", [None, float("nan"), 0.5])
def test_errors_that_are_unknown_or_useless_are_refused(target, error):
    small = Target(num_qubits=1)
    small.add_instruction(
        target.operation_from_name("measure"), {(0,): InstructionProperties(1e-6, error)}
    )
    message = require_failure(check(_measured(), small), "usable qubits")
    assert f"got error {error} (" in message


def test_delays_are_refused_also_in_branches(target):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.delay(100, 0)
    circuit.delay(100, 0)
    message = require_failure(check(circuit, target), "delays")
    assert "(instruction 1: on device qubit 0, and 1 more); submit the circuit as" in message


def test_barriers_are_no_gates(target):
    circuit = QuantumCircuit(3, 1)
    circuit.barrier()
    circuit.measure(0, 0)
    assert check(circuit, target).passed
    tally = tally_circuit(circuit, target, CHAIN)
    assert tally.control_instructions.tolist() == [10, 0, 0]


# ---- registers and parameters


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m-1", "no OpenQASM 3 identifier"),
        ("bit", "a reserved word"),
        ("lambda", "a reserved word"),
        ("pi", "a reserved word"),
        ("values", "an attribute of the result"),
    ],
)
def test_register_names_that_break_the_result_are_refused(target, name, reason):
    register = ClassicalRegister(1, name)
    circuit = QuantumCircuit(QuantumRegister(1, "q"), register)
    circuit.measure(0, register[0])
    message = require_failure(check(circuit, target), "classical registers")
    assert f"got {name} ({reason}); rename it" in message


def test_every_bit_comes_back_once(target):
    loose = QuantumCircuit(QuantumRegister(1, "q"), [Clbit()])
    loose.measure(0, 0)
    assert "bit 0 (in 0 registers" in require_failure(check(loose, target), "classical registers")
    register = ClassicalRegister(1, "m")
    shared = QuantumCircuit(QuantumRegister(1, "q"), register)
    shared.add_register(ClassicalRegister(name="alias", bits=list(register)))
    shared.measure(0, 0)
    assert "bit 0 (in 2 registers" in require_failure(check(shared, target), "classical registers")
    empty = QuantumCircuit(QuantumRegister(1, "q"), register, ClassicalRegister(0, "none"))
    empty.measure(0, 0)
    assert "got none (no bits in it)" in require_failure(
        check(empty, target), "classical registers"
    )


def rotation(angle, gate="rz"):
    circuit = QuantumCircuit(2, 1)
    getattr(circuit, gate)(angle, *range(2 if gate == "rzz" else 1))
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize(
    ("names", "values", "fragment"),
    [
        ((), None, "got unbound (parameter a)"),
        (("a",), None, "got no values (1 parameters)"),
        (("a", "b"), [[0.1, 0.2]], "got not in the circuit (parameter b)"),
        (("a", "a"), [[0.1, 0.2]], "got a twice"),
        (("a",), [[np.nan]], "got nan (parameter a, row 0); check the controller"),
    ],
)
def test_every_parameter_is_bound_once_to_a_number(target, names, values, fragment):
    values = None if values is None else np.array(values)
    circuit = rotation(Parameter("a"))
    report = check(circuit, target, parameter_names=names, parameter_values=values)
    assert fragment in require_failure(report, "bound parameters")
    check(circuit, target, parameter_names=("a",), parameter_values=np.ones((1, 1))
          ).require_passed()  # fmt: skip


@pytest.mark.parametrize("angle", [0.0, 1.0, pi / 2])
def test_rzz_angles_in_range_pass(target, angle):
    check(rotation(angle, "rzz"), target).require_passed()
    bound = check(rotation(Parameter("v"), "rzz"), target, parameter_names=("v",),
                  parameter_values=np.array([[angle]]))  # fmt: skip
    bound.require_passed()


def test_an_rzz_of_2_rad_is_one_clear_line(target):
    message = require_failure(check(rotation(2.0, "rzz"), target), "rzz angles")
    assert message == (
        "submission: rzz angles: must be in [0, pi/2] rad, got 2 rad (a constant, "
        "instruction 0, device qubits 0, 1); fold the angles into [0, pi/2] or compile without "
        "fractional gates"
    )


@pytest.mark.parametrize(("slope", "offset"), [(1, 0), (2, -1)])
@pytest.mark.parametrize("wrong", [2.0, -0.1])
def test_rzz_angles_are_checked_in_every_row(target, slope, offset, wrong):
    """Plain parameters and expressions, also inside a branch."""
    parameter = Parameter("v")
    angle = parameter if slope == 1 else slope * parameter + offset
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rzz(angle, 0, 1)
    values = np.full((5, 1), 0.7)
    arguments = {"parameter_names": ("v",), "num_rows": 5}
    check(circuit, target, parameter_values=values, **arguments).require_passed()
    values[3] = (wrong - offset) / slope
    message = require_failure(
        check(circuit, target, parameter_values=values, **arguments), "rzz angles"
    )
    assert f"got {wrong:.6g} rad ({angle}, row 3, instruction 1, device" in message


# ---- sizes


def test_instructions_are_weighed_on_device_qubits_with_both_sides_of_a_branch(target):
    circuit = QuantumCircuit(3, 1)
    circuit.rz(0.1, 0)
    circuit.cz(0, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.sx(2)
        circuit.cz(1, 2)
    with otherwise:
        circuit.x(2)
    circuit.reset(0)
    tally = tally_circuit(circuit, target, CHAIN)
    branch = 1
    assert tally.control_instructions.tolist() == [1 + 5 + 10 + 17, 5 + branch + 5,
                                                   branch + 2 + 5 + 2]  # fmt: skip
    assert tally.num_two_qubit_gates == 2
    assert tally.gate_counts == {"rz": 1, "cz": 2, "measure": 1, "sx": 1, "x": 1, "reset": 1}
    assert (tally.num_measurements, tally.num_final_measurements) == (1, 0)


def test_unchanged_registers_are_broadcast_once(target):
    """IBM's example: two tests of one register and a bit of another are two broadcasts."""
    first, second = ClassicalRegister(3, "c0"), ClassicalRegister(5, "c1")
    circuit = QuantumCircuit(QuantumRegister(1, "q"), first, second)

    def test(condition):
        with circuit.if_test(condition):
            circuit.sx(0)

    circuit.measure(0, first[0])
    test((first, 1))
    test((first, 3))
    test((second[2], 1))
    assert tally_circuit(circuit, target, [0]).broadcast_bits == [3, 1]
    circuit.measure(0, second[1])
    test((second[2], 1))
    test((first, 2))
    assert tally_circuit(circuit, target, [0]).broadcast_bits == [3, 1]
    circuit.measure(0, first[2])
    test(expr.bit_and(expr.equal(first, 1), second[2]))
    assert tally_circuit(circuit, target, [0]).broadcast_bits == [3, 1, 3]


def test_too_many_broadcasts_of_one_circuit_fail_with_the_length_that_passes(target):
    limits = HardwareLimits(max_one_bit_broadcasts=20)
    report = check(dynamic_circuit(40), target, num_timesteps=40, limits=limits)
    message = require_failure(report, "broadcasts per job")
    assert "got 39 (39 of 1 bits on average); shorten the sequence to at most 21 timesteps" in (
        message
    )
    assert report.largest_timesteps == 21
    check(dynamic_circuit(21), target, num_timesteps=21, limits=limits).require_passed()
    require_failure(check(dynamic_circuit(22), target, num_timesteps=22, limits=limits),
                    "broadcasts per job")  # fmt: skip
    delayed = check(dynamic_circuit(6, 2), target, num_timesteps=6, limits=limits,
                    num_unsteered_timesteps=3)  # fmt: skip
    assert delayed.largest_timesteps == 23
    # The same length follows from a circuit that passes.
    short = check(dynamic_circuit(4), target, num_timesteps=4, limits=limits)
    assert short.largest_timesteps == 21


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"max_two_qubit_gates_per_dynamic_circuit": 10}, "two-qubit gates per circuit"),
        ({"max_control_instructions_per_qubit": 800}, "control instructions per qubit and job"),
        ({"max_mid_circuit_results_per_row": 10}, "mid-circuit results per row and job"),
        ({"max_result_bits_per_job": 13}, "result bits per job"),
    ],
)
def test_circuits_that_are_too_long_fail_with_a_length_that_passes(target, change, rule):
    limits = HardwareLimits(**change)

    def report(num_timesteps):
        return check(
            dynamic_circuit(num_timesteps), target, num_timesteps=num_timesteps, limits=limits
        )

    length = report(60).largest_timesteps
    assert f"to at most {length} timesteps" in require_failure(report(60), rule)
    assert length >= 9
    assert report(length).passed
    # The bound is safe, and not far from the true one.
    assert not report(length + 3).passed


def test_dynamic_circuits_have_a_lower_limit_of_two_qubit_gates(target):
    limits = HardwareLimits(max_two_qubit_gates_per_dynamic_circuit=2)
    circuit = QuantumCircuit(3, 1)
    for _ in range(3):
        circuit.cz(0, 1)
    circuit.measure(0, 0)
    check(circuit, target, limits=limits).require_passed()
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.sx(0)
    require_failure(check(circuit, target, limits=limits), "two-qubit gates per circuit")


@pytest.mark.parametrize("gate", ["rz", "sx"])
def test_one_qubit_gates_are_limited(target, gate):
    circuit = QuantumCircuit(1, 1)
    for _ in range(3):
        circuit.rz(0.1, 0) if gate == "rz" else circuit.sx(0)
    circuit.measure(0, 0)
    limits = HardwareLimits(**{f"max_{gate}_gates_per_circuit": 2})
    require_failure(check(circuit, target, limits=limits), f"{gate} gates per circuit")


def test_an_execution_longer_than_a_job_fails(target):
    report = check(_measured(), target, circuit_duration_ns=4 * 3600e9, num_timesteps=8)
    message = require_failure(report, "QPU seconds per job")
    assert "shorten the sequence to at most 5 timesteps" in message


# ---- splits


def test_long_records_are_split_by_shots(target):
    """12,000 measurements at 500 shots: what others split by hand after error 8045."""
    circuit = QuantumCircuit(1, 1)
    for _ in range(12_000):
        circuit.measure(0, 0)
        circuit.reset(0)
    report = check(circuit, target, num_shots=500, num_rows=3, num_timesteps=12_000)
    report.require_passed()
    split = finding(report, "mid-circuit results per row and job")
    assert (split.passed, split.splits, split.cure) == (False, True, "split into 6 jobs")
    assert [(job.first_row, job.num_rows, job.num_shots) for job in report.splits] == [
        (0, 3, 84), (0, 3, 84), (0, 3, 83), (0, 3, 83), (0, 3, 83), (0, 3, 83),
    ]  # fmt: skip
    assert report.minutes_to_submit == 1
    assert report.qpu_seconds == pytest.approx(6 * 2 + 1500 * 260e-6, rel=1e-12)


def test_rows_are_split_before_shots(target):
    limits = HardwareLimits(max_executions_per_job=1000)
    report = check(dynamic_circuit(), target, num_rows=10, num_shots=500, limits=limits)
    report.require_passed()
    assert [(job.num_rows, job.num_shots) for job in report.splits] == [(2, 500)] * 5
    line = finding(report, "executions per job").line
    assert line == (
        "executions per job: must be at most 1,000, got 5,000 (10 rows x 500 shots); "
        "split into 5 jobs"
    )


def test_rows_have_their_own_broadcasts_unless_they_share_memory(target):
    arguments = {"num_rows": 1000, "num_timesteps": 9}
    report = check(dynamic_circuit(9), target, **arguments)
    # 8,000 broadcasts of one bit, 2,400 a job.
    assert finding(report, "broadcasts per job").value == 8000
    assert [job.num_rows for job in report.splits] == [250] * 4
    shared = check(dynamic_circuit(9), target, limits=HardwareLimits(rows_share_memory=True),
                   **arguments)  # fmt: skip
    assert finding(shared, "broadcasts per job").value == 8
    assert shared.num_jobs == 1


def test_a_rule_that_fails_leaves_no_jobs_where_another_one_splits(target):
    circuit = rotation(2.0, "rzz")
    limits = HardwareLimits(max_executions_per_job=50)
    report = check(circuit, target, limits=limits)
    require_failure(report, "rzz angles")
    assert finding(report, "executions per job").splits


counts = st.integers(1, 40)


@pure
@given(counts, counts, counts, counts, st.integers(1, 1600))
def test_splits_hold_every_shot_once_within_the_limits(rows, shots, max_rows, max_shots, most):
    jobs = split_submission(
        rows, shots, max_rows=max_rows, max_shots=max_shots, max_executions=most
    )
    held = np.zeros((rows, shots), dtype=int)
    for job in jobs:
        assert 1 <= job.num_rows <= max_rows
        assert 1 <= job.num_shots <= max_shots
        assert job.num_executions <= most
        held[job.rows, job.first_shot : job.first_shot + job.num_shots] += 1
    assert (held == 1).all()
    # No coarser grid would do, searched by hand.
    needed = min(
        -(-rows // r) * -(-shots // s)
        for s in range(1, min(shots, max_shots, most) + 1)
        for r in [min(rows, max_rows, most // s)]
    )
    assert len(jobs) == needed
    sizes = [{job.num_rows for job in jobs}, {job.num_shots for job in jobs}]
    assert all(max(values) - min(values) <= 1 for values in sizes)


@pytest.mark.parametrize("zero", ["max_rows", "max_shots", "max_executions"])
def test_nothing_is_split_where_one_execution_is_too_large(zero):
    limits = {"max_rows": 1, "max_shots": 1, "max_executions": 1} | {zero: 0}
    assert split_submission(2, 2, **limits) == ()


@pure
@given(st.integers(1, 3000), st.integers(1, 20_000), st.floats(1e3, 1e8))
def test_jobs_keep_the_rules_that_they_were_split_for(rows, shots, duration_ns):
    """Each job, checked as a submission of its own, needs no split."""
    target = _small_target()
    limits = HardwareLimits(
        max_control_instructions_per_qubit=5_000,
        max_executions_per_job=400_000,
        max_result_bits_per_job=900_000,
        max_mid_circuit_results_per_row=9_000,
        max_execution_seconds=2_000.0,
    )
    circuit = QuantumCircuit(1, 2)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    arguments = {"circuit_duration_ns": duration_ns, "limits": limits}
    report = check(circuit, target, num_rows=rows, num_shots=shots, **arguments)
    report.require_passed()
    assert sum(job.num_executions for job in report.splits) == rows * shots
    for num_rows, num_shots in {(job.num_rows, job.num_shots) for job in report.splits}:
        alone = check(circuit, target, num_rows=num_rows, num_shots=num_shots, **arguments)
        assert alone.num_jobs == 1
        assert all(item.passed for item in alone.findings)


def _small_target():
    target = Target(num_qubits=1)
    for name, num_clbits in (("measure", 1), ("reset", 0)):
        properties = {(0,): InstructionProperties(1e-6, 0.01)}
        target.add_instruction(Instruction(name, 1, num_clbits, []), properties, name=name)
    return target


# ---- arguments and lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rows": 0}, "num_rows: must be at least 1, got 0"),
        ({"num_shots": 0}, "num_shots: must be at least 1, got 0"),
        ({"num_timesteps": 0}, "num_timesteps: must be at least 1, got 0"),
        ({"num_unsteered_timesteps": 0}, "num_unsteered_timesteps: must be at least 1, got 0"),
        ({"circuit_duration_ns": float("nan")}, "circuit_duration_ns: must be finite"),
        ({"physical_qubits": (0, 0, 1)}, "physical_qubits: must be 3 distinct qubits of the"),
        ({"physical_qubits": (0, 1)}, "physical_qubits: must be 3 distinct qubits of the"),
        ({"physical_qubits": (0, 1, 156)}, "distinct qubits of the device's 156"),
        (
            {"parameter_values": np.zeros((2, 0))},
            r"parameter_values: must have shape \(1, 0\), rows and parameters, got \(2, 0\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(target, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        check(dynamic_circuit(), target, **changes)
    assert "\n" not in str(caught.value)


def test_the_error_says_how_many_rules_failed(target):
    circuit = rotation(2.0, "rzz")
    circuit.delay(10, 0)
    circuit.h(0)
    with pytest.raises(InputError, match=r"target instructions: .* \(and 2 more rules failed\)"):
        check(circuit, target).require_passed()


def test_findings_print_numbers_with_units_of_thousands():
    found = Finding("rule", False, 12345, 1234.56789, "")
    assert found.line == "rule: must be at most 1,234.57, got 12,345"
