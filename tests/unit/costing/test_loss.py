"""Loss budgets against sums by hand, on a device of three qubits that is made up here."""

from math import exp, inf, log

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Delay, Instruction, Measure, Parameter, Reset
from qiskit.circuit.classical import expr
from qiskit.circuit.library import CZGate, RZGate, SXGate
from qiskit.quantum_info import Kraus, average_gate_fidelity
from qiskit.transpiler import InstructionProperties, Target

from qrnn_qiskit.costing.loss import LossBudget, PlacedDevice, count_uses, estimate_loss
from qrnn_qiskit.costing.schedule import build_schedule
from qrnn_qiskit.devices import DeviceTarget

SX_ERRORS = (0.001, 0.002, 0.003)
MEASURE_ERRORS = (0.02, 0.03, 0.04)
FAST_MEASURE_ERRORS = (0.05, 0.06, 0.07)
CZ_ERRORS = {(0, 1): 0.01, (0, 2): 0.02, (1, 2): 0.03}
T1_NS = np.array([100e3, 200e3, 300e3])
T2_NS = np.array([50e3, 150e3, 500e3])
LATENCY_NS = 600.0


def on_each(durations_and_errors):
    return {
        (qubit,): InstructionProperties(duration * 1e-9, error)
        for qubit, (duration, error) in enumerate(durations_and_errors)
    }


@pytest.fixture(scope="module")
def device():
    target = Target(num_qubits=3)
    target.add_instruction(RZGate(Parameter("v")), on_each([(0, 0)] * 3))
    target.add_instruction(SXGate(), on_each([(30, error) for error in SX_ERRORS]))
    target.add_instruction(Measure(), on_each([(1000, error) for error in MEASURE_ERRORS]))
    target.add_instruction(
        Instruction("measure_2", 1, 1, []),
        on_each([(500, error) for error in FAST_MEASURE_ERRORS]),
        name="measure_2",
    )
    target.add_instruction(Reset(), on_each([(1200, None)] * 3))
    target.add_instruction(
        Instruction("reset_2", 1, 0, []), on_each([(700, None)] * 3), name="reset_2"
    )
    target.add_instruction(Delay(Parameter("t")), on_each([(0, None)] * 3))
    target.add_instruction(
        CZGate(),
        {pair: InstructionProperties(70e-9, error) for pair, error in CZ_ERRORS.items()},
    )
    return DeviceTarget("hand_made", "0" * 16, target, "cz", T1_NS, T2_NS, ())


def idle_rate(physical):
    return 1 / (6 * T1_NS[physical]) + 1 / (3 * T2_NS[physical])


def loss_of(circuit, device, physical_qubits, resting_qubits=()):
    placed = PlacedDevice(device, physical_qubits)
    schedule = build_schedule(circuit, placed, feedforward_latency_ns=LATENCY_NS)
    return estimate_loss(circuit, placed, schedule, resting_qubits)


def branching_circuit():
    """Qubit 1 is measured, and says whether qubit 0 gets one sx or two."""
    circuit = QuantumCircuit(2, 2)
    circuit.sx(0)
    circuit.rz(0.3, 0)
    circuit.cz(0, 1)
    circuit.measure(1, 0)
    circuit.reset(1)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.sx(0)
        circuit.rz(0.1, 0)
    with otherwise:
        circuit.sx(0)
        circuit.sx(0)
    circuit.measure(0, 1)
    return circuit


def test_a_branching_circuit_by_hand(device):
    """sx 0-30, cz 30-100, measurement until 1100, branch at 1700, for two sx until 1760."""
    loss = loss_of(branching_circuit(), device, (2, 0))
    assert loss.one_qubit == pytest.approx((1 + 0.5 * 1 + 0.5 * 2) * SX_ERRORS[2], rel=1e-12)
    assert loss.two_qubit == pytest.approx(CZ_ERRORS[0, 2], rel=1e-12)
    assert loss.readout == pytest.approx(MEASURE_ERRORS[0] + MEASURE_ERRORS[2], rel=1e-12)
    # A reset fails as its qubit's readout does.
    assert loss.reset == pytest.approx(MEASURE_ERRORS[0], rel=1e-12)
    # Qubit 1 waits before the cz in |0> only.
    assert loss.idle == pytest.approx(1600 * idle_rate(2), rel=1e-12)
    parts = (loss.two_qubit, loss.one_qubit, loss.readout, loss.reset, loss.idle)
    assert loss.total == pytest.approx(sum(parts), rel=1e-12)
    # Wrong models: branches that always run, the qubits the other way round, T1 alone.
    assert loss.one_qubit < 0.9 * (1 + 1 + 2) * SX_ERRORS[2]
    assert loss_of(branching_circuit(), device, (0, 2)).total != pytest.approx(loss.total, rel=0.01)
    assert loss.idle != pytest.approx(1600 / (6 * T1_NS[2]), rel=0.01)


@pytest.mark.parametrize(("kind", "num_bits"), [("bit", 1), ("register", 2), ("both", 3)])
def test_branches_weigh_as_much_as_fair_bits_take_them(device, kind, num_bits):
    wide, narrow = ClassicalRegister(2, "wide"), ClassicalRegister(1, "narrow")
    circuit = QuantumCircuit(QuantumRegister(2, "q"), wide, narrow)
    condition = {
        "bit": (wide[0], 1),
        "register": (wide, 2),
        "both": expr.bit_and(expr.equal(wide, 2), expr.equal(narrow, 1)),
    }[kind]
    with circuit.if_test(condition) as otherwise:
        circuit.cz(0, 1)
        circuit.sx(1)
    with otherwise:
        circuit.sx(1)
        circuit.sx(0)
    chance = 2.0**-num_bits
    assert count_uses(circuit) == {
        ("cz", (0, 1)): chance,
        ("sx", (1,)): 1,
        ("sx", (0,)): 1 - chance,
    }
    loss = loss_of(circuit, device, (1, 2))
    assert loss.two_qubit == pytest.approx(chance * CZ_ERRORS[1, 2], rel=1e-12)
    expected = SX_ERRORS[2] + (1 - chance) * SX_ERRORS[1]
    assert loss.one_qubit == pytest.approx(expected, rel=1e-12)
    assert loss.readout == loss.reset == 0


def test_bodies_name_their_qubits_in_their_own_order(device):
    body = QuantumCircuit(2)
    body.sx(1)
    circuit = QuantumCircuit(3, 1)
    circuit.if_test((circuit.clbits[0], 1), body, [2, 0], [])
    assert count_uses(circuit) == {("sx", (0,)): 0.5}
    assert loss_of(circuit, device, (1, 0, 2)).one_qubit == pytest.approx(SX_ERRORS[1] / 2)


def test_fast_instructions_have_errors_of_their_own(device):
    circuit = QuantumCircuit(1, 1)
    circuit.append(device.target.operation_from_name("measure_2"), [0], [0])
    circuit.append(device.target.operation_from_name("reset_2"), [0])
    loss = loss_of(circuit, device, (1,))
    assert loss.readout == loss.reset == FAST_MEASURE_ERRORS[1]
    assert loss.total == loss.readout + loss.reset


def test_barriers_delays_and_virtual_gates_lose_nothing_themselves(device):
    circuit = QuantumCircuit(2)
    circuit.rz(0.2, 0)
    circuit.barrier()
    circuit.delay(400, 0, "ns")
    assert count_uses(circuit) == {}
    assert loss_of(circuit, device, (0, 1)).total == 0


def test_waiting_is_of_live_qubits_that_are_not_resting(device):
    """Qubit 0 waits from its first cz, at 70, to the end of qubit 1's two sx, at 130."""
    circuit = QuantumCircuit(3)
    circuit.cz(0, 1)
    circuit.sx(1)
    circuit.sx(1)
    circuit.cz(0, 1)
    circuit.cz(1, 2)
    live = loss_of(circuit, device, (0, 1, 2))
    assert live.idle == pytest.approx(60 * idle_rate(0), rel=1e-12)
    resting = loss_of(circuit, device, (0, 1, 2), resting_qubits=[0])
    assert resting.idle == 0
    assert resting.two_qubit == live.two_qubit
    assert resting.one_qubit == live.one_qubit


def test_the_idle_rate_is_the_infidelity_of_a_short_wait(device):
    """Amplitude damping with T1, and what dephasing is needed for T2, as Kraus operators."""
    placed = PlacedDevice(device, (2, 1))
    wait_ns = 1.0
    for qubit, physical in enumerate((2, 1)):
        decay = 1 - exp(-wait_ns / T1_NS[physical])
        pure_rate = 1 / T2_NS[physical] - 1 / (2 * T1_NS[physical])
        flip = (1 - exp(-wait_ns * pure_rate)) / 2
        damping = Kraus([np.diag([1, np.sqrt(1 - decay)]), np.array([[0, np.sqrt(decay)], [0, 0]])])
        dephasing = Kraus([np.sqrt(1 - flip) * np.eye(2), np.sqrt(flip) * np.diag([1, -1])])
        infidelity = 1 - average_gate_fidelity(damping.compose(dephasing))
        # Second order in wait / T2, here 2e-5 and less.
        assert placed.idle_rate_per_ns(qubit) * wait_ns == pytest.approx(infidelity, rel=1e-4)


def test_unknown_relaxation_times_lose_nothing(device):
    forever = np.full(3, inf)
    ideal = DeviceTarget("ideal", "1" * 16, device.target, "cz", forever, forever, ())
    assert loss_of(branching_circuit(), ideal, (2, 0)).idle == 0


def test_success_and_the_timesteps_to_it():
    loss = LossBudget(two_qubit=0.1, one_qubit=0.02, readout=0.03, reset=0.04, idle=0.05)
    assert loss.total == pytest.approx(0.24, rel=1e-12)
    assert loss.success == pytest.approx(exp(-0.24), rel=1e-12)
    length = loss.num_timesteps_to(0.5, num_timesteps=8)
    assert length == pytest.approx(log(2) / 0.03, rel=1e-12)
    assert loss.success ** (length / 8) == pytest.approx(0.5, rel=1e-12)
    # Success after T timesteps is no linear function of T.
    assert length != pytest.approx(8 * 0.5 / (1 - loss.success), rel=0.05)
    assert LossBudget(0, 0, 0, 0, 0).num_timesteps_to(0.5, 8) == inf
