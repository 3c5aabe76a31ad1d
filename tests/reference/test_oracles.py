"""The oracles against closed forms, against qiskit's static simulator, and against each other.

Nothing here is sampled. Tolerances of 1e-12 are rounding over at most some hundred gates.
"""

import dataclasses
import math

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, IfElseOp, Parameter
from qiskit.circuit.classical import expr, types
from qiskit.circuit.library import Initialize
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import (
    DensityMatrix,
    Operator,
    Pauli,
    Statevector,
    partial_trace,
    random_statevector,
)

from .branch_enumeration import enumerate_records, pack_bits
from .model import PAULIS as MODEL_PAULIS
from .model import (
    ModelSpec,
    cell_unitary,
    embed,
    kraus_operator,
    layer_gates,
    product_basis_distribution,
    run_model,
    single_qubit_paulis,
    table_column,
)

ATOL = 1e-12


def assert_close(actual, expected, atol=ATOL):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def equal_up_to_phase(a, b):
    """Frobenius distance of two operators after the best global phase."""
    overlap = np.vdot(a, b)
    phase = overlap / abs(overlap) if abs(overlap) > 1e-9 else 1.0
    return np.linalg.norm(b - phase * a)


# --- branch enumeration: circuits without control flow ---------------------------------------


def test_measured_superposition_splits_by_born_rule():
    circuit = QuantumCircuit(1, 1)
    circuit.ry(0.7, 0)
    circuit.measure(0, 0)
    result = enumerate_records(circuit)
    assert_close(result.probabilities, [math.cos(0.35) ** 2, math.sin(0.35) ** 2])
    assert_close(result.parity([0]), math.cos(0.7))
    assert_close(result.pauli_expectation("Z", [0]), math.cos(0.7))
    assert_close(result.pauli_expectation("X", [0]), 0)
    assert_close(result.pauli_expectation("Z", [0], signed_by=[0]), 1)


def test_record_is_little_endian():
    circuit = QuantumCircuit(3, 3)
    circuit.x(1)
    circuit.measure([0, 1, 2], [0, 2, 1])
    result = enumerate_records(circuit)
    assert result.distribution == {0b100: 1.0}
    assert_close(result.marginal([2]), [0, 1])
    assert_close(result.marginal([0, 2]), [0, 0, 1, 0])
    assert_close(result.marginal([2, 0]), [0, 1, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_unitary_circuit_matches_statevector(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(4, 6, max_operands=3, seed=seed)
    initial = random_statevector(16, seed=seed)
    result = enumerate_records(circuit, initial_state=initial.data)
    expected = initial.evolve(circuit)
    assert_close(result.states[0], expected.data)
    labels = ["".join(rng.choice(list("IXYZ"), size=3)) for _ in range(5)]
    for label in labels:
        qubits = rng.permutation(4)[:3].tolist()
        value = expected.expectation_value(Pauli(label[::-1]), qubits).real
        assert_close(result.pauli_expectation(label, qubits), value)
    assert_close(result.density_matrix([1, 3]), partial_trace(expected, [0, 2]).data)
    swapped = Operator(DensityMatrix(partial_trace(expected, [0, 2])).data).reverse_qargs().data
    assert_close(result.density_matrix([3, 1]), swapped)


def test_reset_of_an_entangled_qubit_leaves_a_mixture():
    theta = 1.1
    circuit = QuantumCircuit(2, 1)
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    circuit.reset(0)
    result = enumerate_records(circuit)
    assert len(result.states) == 2
    mixture = np.diag([math.cos(theta / 2) ** 2, math.sin(theta / 2) ** 2])
    assert_close(result.density_matrix([1]), mixture)
    assert_close(result.density_matrix([0]), np.diag([1, 0]))
    assert_close(result.probabilities, [1, 0])
    assert_close(result.pauli_expectation("X", [1]), 0)


def test_reset_of_a_product_qubit_leaves_the_other_pure():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.ry(0.4, 1)
    circuit.reset(0)
    result = enumerate_records(circuit)
    assert_close(result.pauli_expectation("X", [1]), math.sin(0.4))


def test_overwritten_clbit_keeps_the_last_value_and_sums_the_branches():
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.ry(0.6, 0)
    circuit.measure(0, 0)
    result = enumerate_records(circuit)
    assert len(result.states) == 4
    assert_close(result.probabilities, [0.5, 0.5])


def test_dropped_probability_is_accounted_for():
    circuit = QuantumCircuit(1, 1)
    circuit.ry(0.02, 0)
    circuit.measure(0, 0)
    result = enumerate_records(circuit, min_probability=1e-3)
    assert set(result.distribution) == {0}
    assert_close(result.dropped_probability, math.sin(0.01) ** 2)
    assert_close(sum(result.distribution.values()) + result.dropped_probability, 1)


def test_many_clbits_come_as_a_dict():
    circuit = QuantumCircuit(1, 70)
    circuit.x(0)
    circuit.measure(0, 69)
    result = enumerate_records(circuit)
    assert result.distribution == {1 << 69: 1.0}
    with pytest.raises(ValueError, match="num_clbits <= 20, got 70"):
        _ = result.probabilities


def test_what_cannot_be_walked_is_refused():
    free = QuantumCircuit(1)
    free.rx(Parameter("a"), 0)
    with pytest.raises(ValueError, match="free parameters"):
        enumerate_records(free)
    looped = QuantumCircuit(1, 1)
    with looped.for_loop(range(2)):
        looped.x(0)
    with pytest.raises(NotImplementedError, match="for_loop"):
        enumerate_records(looped)
    stored = QuantumCircuit(1, 1)
    stored.add_var("v", expr.lift(False))
    with pytest.raises(NotImplementedError, match="store"):
        enumerate_records(stored)
    with pytest.raises(ValueError, match="initial_state"):
        enumerate_records(QuantumCircuit(2), initial_state=np.ones(2))


# --- branch enumeration: conditions ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_teleportation(seed):
    state = random_statevector(2, seed=seed)
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(1, "z"), ClassicalRegister(1))
    circuit.append(Initialize(state).gates_to_uncompute().inverse().to_gate(), [0])
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[1], True)):
        circuit.x(2)
    with circuit.if_test((circuit.cregs[0], 1)):
        circuit.z(2)
    result = enumerate_records(circuit)
    assert_close(result.probabilities, np.full(4, 0.25))
    for rho in result.density_matrices([2]).values():
        assert_close(rho, 0.25 * DensityMatrix(state).data)


def _conditions(a, b, bit):
    """Conditions on 2-bit registers a, b and a clbit, beside the same in plain Python."""
    return [
        ((a, 2), lambda x, y, z: x == 2),
        ((bit, True), lambda x, y, z: z == 1),
        ((bit, False), lambda x, y, z: z == 0),
        (expr.lift(bit), lambda x, y, z: z == 1),
        (expr.logic_not(bit), lambda x, y, z: z == 0),
        (expr.bit_not(bit), lambda x, y, z: z == 0),
        (expr.equal(a, b), lambda x, y, z: x == y),
        (expr.not_equal(a, 3), lambda x, y, z: x != 3),
        (expr.equal(expr.bit_and(a, b), 1), lambda x, y, z: x & y == 1),
        (expr.equal(expr.bit_or(a, b), 3), lambda x, y, z: x | y == 3),
        (expr.equal(expr.bit_xor(a, 2), b), lambda x, y, z: x ^ 2 == y),
        (expr.equal(expr.bit_not(a), b), lambda x, y, z: 3 - x == y),
        (expr.logic_and(expr.less(a, b), bit), lambda x, y, z: x < y and z),
        (expr.logic_or(expr.greater_equal(a, b), bit), lambda x, y, z: x >= y or z),
        (expr.bit_xor(expr.less_equal(a, b), bit), lambda x, y, z: (x <= y) != bool(z)),
        (expr.greater(a, 1), lambda x, y, z: x > 1),
        (expr.equal(expr.shift_left(a, 1), b), lambda x, y, z: (2 * x) % 4 == y),
        (expr.equal(expr.shift_right(a, 1), b), lambda x, y, z: x // 2 == y),
        (expr.equal(expr.add(a, b), 1), lambda x, y, z: (x + y) % 4 == 1),
        (expr.equal(expr.sub(a, b), 3), lambda x, y, z: (x - y) % 4 == 3),
        (expr.equal(expr.mul(a, b), 2), lambda x, y, z: (x * y) % 4 == 2),
        (expr.index(a, 1), lambda x, y, z: x & 2),
        (expr.cast(a, types.Bool()), lambda x, y, z: x),
        (expr.equal(expr.cast(a, types.Uint(1)), 1), lambda x, y, z: x & 1),
    ]


@pytest.mark.parametrize("number", range(24))
def test_condition_is_evaluated_on_the_record(number):
    a, b, bit = ClassicalRegister(2, "a"), ClassicalRegister(2, "b"), Clbit()
    conditions = _conditions(a, b, bit)
    assert len(conditions) == 24
    condition, rule = conditions[number]
    circuit = QuantumCircuit(QuantumRegister(6), a, b, [bit])
    circuit.h(range(5))
    circuit.measure(range(5), range(5))
    with circuit.if_test(condition):
        circuit.x(5)
    outcomes = []
    for record, rho in enumerate_records(circuit).density_matrices([5]).items():
        assert_close(np.trace(rho), 1 / 32)
        wanted = bool(rule(record & 3, record >> 2 & 3, record >> 4 & 1))
        assert_close(rho[1, 1], wanted / 32)
        outcomes.append(wanted)
    assert len(outcomes) == 32
    assert 0 < sum(outcomes) < 32


def test_else_and_nested_branches():
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "c"), ClassicalRegister(1))
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], True)) as outer_else:
        with circuit.if_test((circuit.cregs[0], 3)) as inner_else:
            circuit.ry(0.1, 2)
        with inner_else:
            circuit.ry(0.2, 2)
            circuit.reset(0)
            circuit.measure(0, 2)
    with outer_else:
        circuit.ry(0.3, 2)
    result = enumerate_records(circuit)
    angles = {0b00: 0.3, 0b01: 0.2, 0b10: 0.3, 0b11: 0.1}
    found = result.density_matrices([2])
    assert set(found) == set(angles)
    for record, angle in angles.items():
        assert_close(found[record][0, 0], 0.25 * math.cos(angle / 2) ** 2)


def test_bodies_built_by_hand_map_their_bits_in_order():
    inner = QuantumCircuit(2, 1)
    inner.cx(0, 1)
    inner.measure(1, 0)
    body = QuantumCircuit(2, 2)
    body.append(IfElseOp((body.clbits[0], True), inner), [1, 0], [1])
    circuit = QuantumCircuit(3, 3)
    circuit.x(2)
    circuit.measure(2, 2)
    circuit.append(IfElseOp((circuit.clbits[2], True), body), [0, 2], [2, 1])
    # body qubits (0, 1) are outer (0, 2); inner qubits (0, 1) are outer (2, 0); the inner
    # clbit is outer clbit 1.
    result = enumerate_records(circuit)
    assert result.distribution == {0b110: 1.0}
    assert_close(result.pauli_expectation("ZZ", [0, 2]), 1)
    assert_close(result.pauli_expectation("Z", [0]), -1)
    assert_close(result.pauli_expectation("Z", [1]), 1)


def test_confusion_steers_but_does_not_collapse():
    confusion = np.array([[0.9, 0.2], [0.1, 0.8]])  # [recorded, true]
    circuit = QuantumCircuit(2, 2)
    circuit.ry(1.0, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], True)):
        circuit.x(1)
    circuit.measure(1, 1)
    one = math.sin(0.5) ** 2
    recorded_one = 0.1 * (1 - one) + 0.8 * one
    for given in ({0: confusion}, lambda qubit: confusion if qubit == 0 else None):
        result = enumerate_records(circuit, readout_confusion=given)
        assert_close(result.probabilities, [1 - recorded_one, 0, 0, recorded_one])
        # The qubit itself holds the true bit.
        assert_close(result.pauli_expectation("Z", [0]), 1 - 2 * one)
        assert_close(
            result.pauli_expectation("Z", [0], signed_by=[0]),
            0.9 * (1 - one) - 0.1 * (1 - one) + 0.8 * one - 0.2 * one,
        )


# --- the readout -------------------------------------------------------------------------------

READOUT_CASES = [("X", 0.3), ("Y", 1.1), ("Z", 0.8), ("X", math.pi / 2), ("Y", 0.0), ("Z", -0.4)]


def append_readout(circuit, pauli, memory, readout, phi, flip=0, alpha=math.pi / 2):
    """The readout of DESIGN.md section 3, up to the measurement."""
    circuit.ry(alpha, readout)
    if pauli == "X":
        circuit.ry(-math.pi / 2, memory)
    if pauli == "Y":
        circuit.rx(math.pi / 2, memory)
    circuit.rzz(phi, memory, readout)
    if pauli == "X":
        circuit.ry(math.pi / 2, memory)
    if pauli == "Y":
        circuit.rx(-math.pi / 2, memory)
    circuit.rx(math.pi / 2 + math.pi * flip, readout)


def append_cz_readout(circuit, pauli, memory, readout, phi, flip=0):
    """The one-CZ form of the same."""
    circuit.ry(phi, readout)
    if pauli == "X":
        circuit.ry(-math.pi / 2, memory)
    if pauli == "Y":
        circuit.rx(math.pi / 2, memory)
    circuit.cz(memory, readout)
    if pauli == "X":
        circuit.ry(math.pi / 2, memory)
    if pauli == "Y":
        circuit.rx(-math.pi / 2, memory)
    circuit.ry(-math.pi / 2 + math.pi * flip, readout)


def circuit_kraus(append, pauli, phi, outcome, prepared=0, **options):
    """<outcome| circuit |prepared> on the readout qubit (qubit 1), a 2x2 matrix."""
    circuit = QuantumCircuit(2)
    append(circuit, pauli, 0, 1, phi, **options)
    unitary = Operator(circuit).data.reshape(2, 2, 2, 2)  # out: readout, memory; in: the same
    return unitary[outcome, :, prepared, :]


@pytest.mark.parametrize("append", [append_readout, append_cz_readout])
@pytest.mark.parametrize(("pauli", "phi"), READOUT_CASES)
@pytest.mark.parametrize("flip", [0, 1])
def test_readout_circuit_has_the_stated_kraus_operators(append, pauli, phi, flip):
    for outcome in (0, 1):
        kraus = circuit_kraus(append, pauli, phi, outcome, flip=flip)
        expected = kraus_operator(pauli, 0, phi, outcome ^ flip, 1)
        assert equal_up_to_phase(expected, kraus) < ATOL


@pytest.mark.parametrize(("pauli", "phi"), READOUT_CASES)
def test_a_readout_qubit_left_in_one_flips_the_record_and_nothing_else(pauli, phi):
    for outcome in (0, 1):
        kraus = circuit_kraus(append_readout, pauli, phi, outcome, prepared=1)
        expected = kraus_operator(pauli, 0, phi, outcome ^ 1, 1)
        assert equal_up_to_phase(expected, kraus) < ATOL


def test_a_wrong_basis_change_would_be_noticed():
    kraus = circuit_kraus(append_readout, "Y", 0.8, 0)
    assert equal_up_to_phase(kraus_operator("Y", 0, -0.8, 0, 1), kraus) > 0.1
    assert equal_up_to_phase(kraus_operator("X", 0, 0.8, 0, 1), kraus) > 0.1


@pytest.mark.parametrize("prepared_bit", [0, 1])
def test_calibration_angles_prepare_the_bit(prepared_bit):
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.9, 0)
    # beta = pi/2 + pi flip is pi b for this flip.
    append_readout(circuit, "X", 0, 1, 0.0, flip=prepared_bit - 0.5, alpha=0.0)
    circuit.measure(1, 0)
    result = enumerate_records(circuit)
    assert_close(result.probabilities[prepared_bit], 1)
    assert_close(result.pauli_expectation("X", [0]), math.sin(0.9))


@pytest.mark.parametrize(("pauli", "phi"), READOUT_CASES)
def test_povm_and_back_action(pauli, phi):
    memory = random_statevector(2, seed=5).data
    rho = np.outer(memory, memory.conj())
    matrix = MODEL_PAULIS[pauli]
    expectation = np.trace(matrix @ rho).real

    circuit = QuantumCircuit(2, 1)
    append_readout(circuit, pauli, 0, 1, phi)
    circuit.measure(1, 0)
    circuit.reset(1)
    result = enumerate_records(circuit, initial_state=np.kron([1, 0], memory))
    signs = np.array([1, -1])
    assert_close(result.probabilities, (1 + signs * math.sin(phi) * expectation) / 2)
    cos = math.cos(phi)
    disturbed = (1 + cos) / 2 * rho + (1 - cos) / 2 * matrix @ rho @ matrix
    assert_close(result.density_matrix([0]), disturbed)

    elements = [np.linalg.matrix_power(kraus_operator(pauli, 0, phi, c, 1), 2) for c in (0, 1)]
    for element, sign in zip(elements, signs, strict=True):
        assert_close(element, (np.eye(2) + sign * math.sin(phi) * matrix) / 2)


def test_estimator_undoes_the_confusion():
    e0, e1, phi = 0.03, 0.08, 0.7  # e0 = P(record 1 | 0), e1 = P(record 0 | 1)
    confusion = np.array([[1 - e0, e1], [e0, 1 - e1]])
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.9, 0)
    append_readout(circuit, "X", 0, 1, phi)
    circuit.measure(1, 0)
    mean_sign = enumerate_records(circuit, readout_confusion={1: confusion}).parity([0])
    assert_close((mean_sign - (e1 - e0)) / ((1 - e0 - e1) * math.sin(phi)), math.sin(0.9))


# --- the model: pieces -------------------------------------------------------------------------


def test_gate_lists_are_the_published_ones():
    ring_one = [(3, 0), (2, 3), (1, 2), (0, 1)]
    ring_two = [(3, 2), (0, 3), (1, 0), (2, 1)]
    rotations = [("ry", (q,)) for q in range(4)]
    assert layer_gates("sim14", 4) == [
        *rotations,
        *[("crx", pair) for pair in ring_one],
        *rotations,
        *[("crx", pair) for pair in ring_two],
    ]
    assert [g[1] for g in layer_gates("sim14", 2)] == [
        *[(0,), (1,), (1, 0), (0, 1)],
        *[(0,), (1,), (1, 0), (0, 1)],
    ]
    assert [g[1] for g in layer_gates("line", 3)] == [
        *[(0, 1), (1, 2), (0,), (1,), (2,), (1, 0), (2, 1)]
    ]
    assert [g[1] for g in layer_gates("brick", 4)] == [
        *[(0,), (1,), (2,), (3,), (0, 1), (2, 3)],
        *[(0,), (1,), (2,), (3,), (1, 2)],
    ]
    with pytest.raises(ValueError, match="num_qubits >= 2"):
        layer_gates("sim14", 1)


@pytest.mark.parametrize("n", range(2, 8))
def test_angle_counts(n):
    assert len(layer_gates("sim14", n)) == 4 * n
    assert len(layer_gates("line", n)) == 3 * n - 2
    assert len(layer_gates("brick", n)) == 3 * n - 1


def append_gate(circuit, name, angle, qubits):
    getattr(circuit, name)(angle, *qubits)


@pytest.mark.parametrize("ansatz", ["sim14", "line", "brick"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_cell_unitary_matches_qiskit_gates(ansatz, n):
    gates = layer_gates(ansatz, n) * 2
    theta = np.random.default_rng(n).uniform(-4, 4, size=(1, 1, len(gates)))
    spec = ModelSpec(n, ansatz, 2, (), theta, loop="open", steered="all")
    circuit = QuantumCircuit(n)
    for (name, qubits), angle in zip(gates, theta[0, 0], strict=True):
        append_gate(circuit, name, float(angle), qubits)
    assert_close(cell_unitary(spec, 1, 0), Operator(circuit).data)


def test_table_column_by_hand():
    # a = 2, so the newest outcome fills bits 0-1, the one before it bits 2-3.
    theta = np.zeros((6, 16, 2 * 5))
    readouts = (("Z", 0, 1.0), ("X", 1, 1.0))
    spec = ModelSpec(2, "brick", 2, readouts, theta, history=2, feedback_delay=1)
    outcomes = (3, 1, 2, 0, 3)  # m_1 ... m_5
    columns = [table_column(spec, t, outcomes[: t - 1]) for t in range(1, 7)]
    assert columns == [
        0,  # nothing yet
        0,  # m_1 is known only at t = 3
        3,  # m_1
        1 + 4 * 3,  # m_2, m_1
        2 + 4 * 1,  # m_3, m_2
        0 + 4 * 2,  # m_4, m_3
    ]


def test_product_basis_distribution_by_hand():
    circuit = QuantumCircuit(3)
    circuit.h(0)  # +X on qubit 0
    circuit.h(1)
    circuit.sdg(1)  # -Y on qubit 1
    circuit.ry(0.8, 2)
    rho = DensityMatrix(circuit).data
    zero = math.cos(0.4) ** 2
    expected = np.zeros(8)
    expected[0b010], expected[0b110] = zero, 1 - zero
    assert_close(product_basis_distribution(rho, "XYZ"), expected)
    assert_close(single_qubit_paulis(rho)[0], [1, 0, math.sin(0.8)])
    assert_close(single_qubit_paulis(rho)[1], [0, -1, 0])
    assert_close(single_qubit_paulis(rho)[2], [0, 0, math.cos(0.8)])


# --- the model: closed forms -------------------------------------------------------------------


def test_one_step_closed_form():
    angle, phi = 0.9, 0.6
    spec = ModelSpec(1, "line", 1, (("Z", 0, phi),), np.full((1, 2, 1), angle))
    result = run_model(spec)
    zero = (1 + math.sin(phi) * math.cos(angle)) / 2
    assert_close(result.record_probabilities, [zero, 1 - zero])
    # The Z readout leaves <Z> and shrinks <X> by cos(phi).
    expected = [[math.sin(angle) * math.cos(phi)], [0], [math.cos(angle)]]
    assert_close(result.pauli_expectations[0], expected)


@pytest.mark.parametrize("delay", [0, 1])
def test_projective_feedback_is_a_markov_chain(delay):
    angles = np.array([[[0.5], [0.9]], [[1.3], [0.2]], [[0.7], [2.1]]])
    spec = ModelSpec(1, "line", 1, (("Z", 0, math.pi / 2),), angles, feedback_delay=delay)
    result = run_model(spec)
    for record in range(8):
        m = [record >> k & 1 for k in range(3)]
        columns = [0, m[0], m[1]] if delay == 0 else [0, 0, m[0]]
        probability, previous = 1.0, 0
        for t in range(3):
            stay = math.cos(angles[t, columns[t], 0] / 2) ** 2
            probability *= stay if m[t] == previous else 1 - stay
            previous = m[t]
        assert_close(result.record_probabilities[record], probability)


def test_readouts_of_strength_zero_are_fair_coins_that_leave_the_state_alone():
    theta = np.random.default_rng(1).normal(size=(3, 1, 7))
    readouts = (("X", 0, 0.0), ("Z", 2, 0.0))
    coins = run_model(ModelSpec(3, "line", 1, readouts, theta, loop="open"))
    host = run_model(ModelSpec(3, "line", 1, readouts, theta, loop="host"))
    assert_close(coins.record_probabilities, np.full(64, 1 / 64))
    assert_close(coins.outcome_distributions, np.full((3, 4), 1 / 4))
    assert_close(coins.pauli_expectations, host.pauli_expectations)
    assert host.record_probabilities.shape == (1,)
    assert host.pauli_expectations.shape == (3, 3, 3)


def test_host_matches_statevector_prefixes():
    theta = np.random.default_rng(2).normal(size=(3, 1, 12))
    result = run_model(ModelSpec(3, "sim14", 1, (), theta, loop="host"))
    circuit = QuantumCircuit(3)
    for t in range(3):
        for (name, qubits), angle in zip(layer_gates("sim14", 3), theta[t, 0], strict=True):
            append_gate(circuit, name, float(angle), qubits)
        state = Statevector(circuit)
        for row, pauli in enumerate("XYZ"):
            expected = [state.expectation_value(Pauli(pauli), [q]).real for q in range(3)]
            assert_close(result.pauli_expectations[t, row], expected)


def test_open_loop_ignores_outcomes_and_equal_columns_make_feedforward_open():
    rng = np.random.default_rng(3)
    column = rng.normal(size=(2, 1, 5))
    readouts = (("X", 0, 0.7), ("Y", 0, 1.2))
    opened = run_model(ModelSpec(2, "brick", 1, readouts, column, loop="open"))
    steered = run_model(ModelSpec(2, "brick", 1, readouts, np.repeat(column, 4, axis=1)))
    assert_close(opened.record_probabilities, steered.record_probabilities)
    other = np.concatenate([column, rng.normal(size=(2, 3, 5))], axis=1)
    still_open = run_model(ModelSpec(2, "brick", 1, readouts, other, loop="open"))
    assert_close(opened.record_probabilities, still_open.record_probabilities)
    closed = run_model(ModelSpec(2, "brick", 1, readouts, other))
    assert np.abs(closed.record_probabilities - opened.record_probabilities).max() > 1e-3


def test_a_wrong_theta_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        ModelSpec(2, "brick", 1, (), np.zeros((3, 1, 4)), loop="open")
    with pytest.raises(ValueError, match="4 columns, got 2"):
        ModelSpec(2, "brick", 1, (("Z", 0, 1.0),), np.zeros((3, 2, 5)), history=2)


# --- the model against enumerated circuits -----------------------------------------------------


def column_condition(registers, timestep, spec, column):
    """Condition under which ``column`` is in force, or None if it never is or always is."""
    newest = timestep - 1 - spec.feedback_delay
    seen = [t for t in range(newest, newest - spec.history, -1) if t >= 1]
    conditions = []
    for j, t in enumerate(seen):
        value = column >> (spec.num_readouts * j) & (2**spec.num_readouts - 1)
        conditions.append((registers[t - 1], value))
    if column >> (spec.num_readouts * len(seen)) or not conditions:
        return None
    if len(conditions) == 1:
        return conditions[0]
    parts = [expr.equal(register, value) for register, value in conditions]
    combined = parts[0]
    for part in parts[1:]:
        combined = expr.logic_and(combined, part)
    return combined


def append_whole_cells(circuit, spec, timestep, registers):
    """Mutually exclusive ``if_test`` blocks, each with a whole cell."""
    theta = spec.theta[timestep - 1]
    gates = layer_gates(spec.ansatz, spec.num_memory) * spec.num_layers

    def append_cell(column):
        for k, (name, qubits) in enumerate(gates):
            steered = spec.steered == "all" or name == "ry"
            append_gate(circuit, name, float(theta[column if steered else 0, k]), qubits)

    if spec.loop == "open":
        append_cell(0)
        return
    conditions = [
        column_condition(registers, timestep, spec, column) for column in range(theta.shape[0])
    ]
    if all(condition is None for condition in conditions):
        append_cell(0)
    for column, condition in enumerate(conditions):
        if condition is not None:
            with circuit.if_test(condition):
                append_cell(column)


def append_differences(circuit, spec, timestep, registers):
    """Every gate with the angle of column 0, then the rest of the angle under conditions."""
    theta = spec.theta[timestep - 1]
    gates = layer_gates(spec.ansatz, spec.num_memory) * spec.num_layers
    for k, (name, qubits) in enumerate(gates):
        append_gate(circuit, name, float(theta[0, k]), qubits)
        if spec.loop == "open" or (spec.steered == "rotations" and name != "ry"):
            continue
        for column in range(1, theta.shape[0]):
            condition = column_condition(registers, timestep, spec, column)
            if condition is not None:
                with circuit.if_test(condition):
                    append_gate(circuit, name, float(theta[column, k] - theta[0, k]), qubits)


def model_circuit(spec, append_timestep):
    """The model as a dynamic circuit with feedback_delay + 1 banks of readout qubits."""
    num_banks = spec.feedback_delay + 1
    registers = [ClassicalRegister(spec.num_readouts, f"m{t}") for t in range(spec.num_timesteps)]
    memory = QuantumRegister(spec.num_memory, "memory")
    banks = [QuantumRegister(spec.num_readouts, f"bank{k}") for k in range(num_banks)]
    circuit = QuantumCircuit(memory, *banks, *registers)
    for t in range(1, spec.num_timesteps + 1):
        append_timestep(circuit, spec, t, registers)
        bank = banks[(t - 1) % num_banks]
        for i, (pauli, anchor, phi) in enumerate(spec.readouts):
            append_readout(circuit, pauli, memory[anchor], bank[i], phi)
            circuit.measure(bank[i], registers[t - 1][i])
            circuit.reset(bank[i])
        circuit.barrier()
    return circuit


TWO_READOUTS = (("X", 0, 0.7), ("Z", 1, 1.2))
SAME_ANCHOR = (("Y", 1, 0.9), ("X", 1, math.pi / 2))  # do not commute: the order shows
CONFIGURATIONS = {
    "sim14": (3, "sim14", 1, TWO_READOUTS, 3, "feedforward", "rotations", 1, 0),
    "brick-all": (2, "brick", 2, SAME_ANCHOR, 3, "feedforward", "all", 1, 0),
    "delay": (3, "line", 1, TWO_READOUTS, 3, "feedforward", "rotations", 1, 1),
    "history": (2, "line", 1, TWO_READOUTS, 3, "feedforward", "all", 2, 0),
    "delay-history": (2, "brick", 1, (("Y", 0, 1.0),), 6, "feedforward", "rotations", 2, 2),
    "open": (3, "brick", 1, SAME_ANCHOR, 3, "open", "all", 1, 1),
}


def make_spec(name, confusion=None):
    n, ansatz, num_layers, readouts, num_timesteps, loop, steered, history, delay = CONFIGURATIONS[
        name
    ]
    num_columns = 2 ** (len(readouts) * history) if loop == "feedforward" else 1
    shape = (num_timesteps, num_columns, num_layers * len(layer_gates(ansatz, n)))
    theta = np.random.default_rng(7).uniform(-3, 3, size=shape)
    return ModelSpec(
        n, ansatz, num_layers, readouts, theta, loop, steered, history, delay, confusion
    )


@pytest.mark.parametrize("append_timestep", [append_whole_cells, append_differences])
@pytest.mark.parametrize("confused", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_model_agrees_with_the_enumerated_circuit(name, confused, append_timestep):
    num_readouts = len(CONFIGURATIONS[name][3])
    matrices = tuple(
        np.array([[0.97 - 0.1 * i, 0.08], [0.03 + 0.1 * i, 0.92]]) for i in range(num_readouts)
    )
    spec = make_spec(name, matrices if confused else None)
    circuit = model_circuit(spec, append_timestep)
    by_qubit = {
        spec.num_memory + bank * num_readouts + i: matrices[i]
        for bank in range(spec.feedback_delay + 1)
        for i in range(num_readouts)
    }
    enumerated = enumerate_records(circuit, readout_confusion=by_qubit if confused else None)
    result = run_model(spec)

    assert_close(enumerated.probabilities, result.record_probabilities)
    assert_close(result.record_probabilities.sum(), 1)
    for t in range(spec.num_timesteps):
        clbits = [num_readouts * t + i for i in range(num_readouts)]
        assert_close(enumerated.marginal(clbits), result.outcome_distributions[t])
    memory = range(spec.num_memory)
    found = enumerated.density_matrices(memory)
    for record, state in result.record_states.items():
        assert_close(found.get(record, 0), state)
    assert_close(enumerated.density_matrix(memory), result.final_state)
    for q in memory:
        for row, pauli in enumerate("XYZ"):
            value = result.pauli_expectations[-1, row, q]
            assert_close(enumerated.pauli_expectation(pauli, [q]), value)


def test_final_distribution_matches_terminal_measurements():
    spec = make_spec("delay")
    circuit = model_circuit(spec, append_whole_cells)
    final = ClassicalRegister(spec.num_memory, "final")
    circuit.add_register(final)
    circuit.h(0)
    circuit.sdg(1)
    circuit.h(1)
    circuit.measure(range(3), final)
    clbits = [circuit.find_bit(bit).index for bit in final]
    enumerated = enumerate_records(circuit)
    assert_close(enumerated.marginal(clbits), run_model(spec).final_distribution("XYZ"))


def test_a_readout_without_reset_records_the_running_parity():
    """DESIGN.md section 3 without the reset: y_t = m_t xor m_{t-1}, here in the open loop."""
    spec = make_spec("open")
    circuit = QuantumCircuit(spec.num_memory + 2, 6)
    for t in range(1, 4):
        append_whole_cells(circuit, spec, t, [])
        for i, (pauli, anchor, phi) in enumerate(spec.readouts):
            append_readout(circuit, pauli, anchor, spec.num_memory + i, phi)
            circuit.measure(spec.num_memory + i, 2 * (t - 1) + i)
    decoded = np.zeros(64)
    for record, probability in enumerate_records(circuit).distribution.items():
        m = [record >> 2 * t & 3 for t in range(3)]
        decoded[m[0] | (m[1] ^ m[0]) << 2 | (m[2] ^ m[1]) << 4] += probability
    assert_close(decoded, run_model(spec).record_probabilities)


def test_the_comparison_rejects_a_wrong_delay_and_a_wrong_bit_order():
    spec = make_spec("history")
    right = run_model(spec).record_probabilities
    delayed = dataclasses.replace(spec, feedback_delay=1)
    assert np.abs(run_model(delayed).record_probabilities - right).max() > 1e-3
    oldest_lowest = [pack_bits([c >> 2 & 1, c >> 3 & 1, c & 1, c >> 1 & 1]) for c in range(16)]
    swapped = dataclasses.replace(spec, theta=spec.theta[:, oldest_lowest])
    assert np.abs(run_model(swapped).record_probabilities - right).max() > 1e-3


def test_embed_is_little_endian():
    assert_close(embed({0: MODEL_PAULIS["X"]}, 2)[1, 0], 1)
    assert_close(embed({1: MODEL_PAULIS["X"]}, 2)[2, 0], 1)
