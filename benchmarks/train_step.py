"""Time one training step (forward and backward) of a hybrid quantum RNN: ours against others.

The engines take turns within one process, so that whatever else the machine does hits all alike,
and must agree on loss and gradient before any of them is timed. README.md has the environment.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from engines import ENGINE_CLASSES, load_engine
from model import Engine, StepInputs, StepWeights, make_inputs, make_weights
from torch import Tensor

FORMAT_VERSION = 1
# Fewer leave no median to speak of.
MIN_REPEATS = 3
# Single precision alone differs by up to 2e-5 between engines here. A wrong gate order changed the
# loss by 3e-3 or the gradient by 6e-2, on as few as 2 qubits and 3 timesteps.
AGREEMENT_RTOL = 1e-3


@dataclass(frozen=True)
class Case:
    """One row group of the table."""

    num_qubits: int
    num_timesteps: int
    num_samples: int

    def __post_init__(self) -> None:
        for name, value, least in (
            ("num_qubits", self.num_qubits, 2),
            ("num_timesteps", self.num_timesteps, 1),
            ("num_samples", self.num_samples, 2),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")


@dataclass(frozen=True)
class Timing:
    """What one engine took for one case; ``peak_growth_mib`` is None where it was not measured."""

    engine: str
    case: Case
    step_seconds: tuple[float, ...]
    peak_growth_mib: float | None

    @property
    def median_seconds(self) -> float:
        """Median over the timed steps."""
        return statistics.median(self.step_seconds)

    @property
    def min_seconds(self) -> float:
        """Fastest timed step."""
        return min(self.step_seconds)


def check_agreement(results: dict[str, tuple[Tensor, StepWeights]]) -> float:
    """Return the largest relative difference from the first engine's loss and gradients.

    A gradient's difference is relative to the largest entry of its tensor, since single precision
    cannot keep the small entries to any relative accuracy.

    Raises:
        ValueError: If a difference exceeds ``AGREEMENT_RTOL`` or is not a number.
    """
    (reference_name, (reference_loss, reference_gradients)), *others = results.items()
    largest = 0.0
    for name, (loss, gradients) in others:
        differences = {"loss": ((loss - reference_loss) / reference_loss).abs().item()}
        for weight_name, reference in reference_gradients.tensors().items():
            difference = gradients.tensors()[weight_name] - reference
            differences[weight_name] = (difference.abs().max() / reference.abs().max()).item()
        for what, difference_found in differences.items():
            # Written so that NaN fails too.
            if not difference_found <= AGREEMENT_RTOL:
                raise ValueError(
                    f"{name} and {reference_name} must agree on {what} to {AGREEMENT_RTOL:g}, "
                    f"but differ by {difference_found:.3g}; fix the engine before timing it."
                )
        largest = max(largest, *differences.values())
    return largest


def time_step(engine: Engine, weights: StepWeights, inputs: StepInputs) -> float:
    """Return the seconds of one step, with the garbage of the previous one already collected."""
    gc.collect()
    start = time.perf_counter()
    engine.step(weights, inputs)
    return time.perf_counter() - start


def plan_rounds(num_rounds: int, num_steps: int) -> list[bool]:
    """Spread ``num_steps`` turns evenly over ``num_rounds`` rounds."""
    return [
        (turn + 1) * num_steps // num_rounds > turn * num_steps // num_rounds
        for turn in range(num_rounds)
    ]


def run_case(
    case: Case, engine_names: list[str], num_repeats: int, budget_seconds: float, seed: int
) -> tuple[dict[str, tuple[float, ...]], float]:
    """Check and time the engines on one case.

    An engine gets ``num_repeats`` steps, or as many as fit ``budget_seconds`` and at least
    ``MIN_REPEATS``.

    Returns:
        Seconds per timed step for each engine, and the largest relative difference between engines.
    """
    weights = make_weights(case.num_qubits, seed)
    inputs = make_inputs(case.num_samples, case.num_timesteps, seed)
    engines = {name: load_engine(name, case.num_qubits) for name in engine_names}
    difference = check_agreement(
        {name: engine.step(weights, inputs) for name, engine in engines.items()}
    )
    turns = {}
    for name, engine in engines.items():
        # The faster of two: one unlucky step on a busy machine would cost an engine its repeats.
        expected_seconds = min(time_step(engine, weights, inputs) for _ in range(2))
        num_affordable = max(int(budget_seconds / expected_seconds), MIN_REPEATS)
        turns[name] = plan_rounds(num_repeats, min(num_repeats, num_affordable))
    step_seconds: dict[str, list[float]] = {name: [] for name in engines}
    for round_index in range(num_repeats):
        for name, engine in engines.items():
            if turns[name][round_index]:
                step_seconds[name].append(time_step(engine, weights, inputs))
    return {name: tuple(seconds) for name, seconds in step_seconds.items()}, difference


def run_peak_memory(engine_name: str, case: Case, num_threads: int, seed: int) -> float:
    """Return ``peak_memory.py``'s figure for one engine and case, from a fresh process."""
    command = [sys.executable, str(Path(__file__).with_name("peak_memory.py"))]
    for option, value in {
        "engine": engine_name,
        "qubits": case.num_qubits,
        "timesteps": case.num_timesteps,
        "batch": case.num_samples,
        "threads": num_threads,
        "seed": seed,
    }.items():
        command += [f"--{option}", str(value)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def format_rows(timings: list[Timing], num_repeats: int) -> list[str]:
    """Lay out one case's engines, with ratios to ours where ours ran."""
    ours = next((timing for timing in timings if timing.engine == "ours"), None)
    rows = []
    for timing in timings:
        ratios = ["-", "-"]
        if ours is not None:
            ratios = [
                f"{timing.median_seconds / ours.median_seconds:.2f}",
                f"{timing.min_seconds / ours.min_seconds:.2f}",
            ]
        memory = "-" if timing.peak_growth_mib is None else f"{timing.peak_growth_mib:.1f}"
        num_steps = len(timing.step_seconds)
        fewer = "" if num_steps == num_repeats else "  (slow: fewer repeats)"
        rows.append(
            f"{timing.case.num_qubits:>3} {timing.case.num_timesteps:>4} {timing.engine:<13}"
            f"{timing.median_seconds:>10.4f} {timing.min_seconds:>10.4f}"
            f"{ratios[0]:>9} {ratios[1]:>9} {memory:>10} {num_steps:>8}{fewer}"
        )
    return rows


def describe_engines(engine_names: list[str]) -> dict[str, str]:
    """Map each engine to the library, version and way of using it that is timed."""
    return {
        name: getattr(importlib.import_module(f"engines.{name}"), ENGINE_CLASSES[name]).description
        for name in engine_names
    }


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    names = list(ENGINE_CLASSES)
    parser.add_argument("--qubits", type=int, nargs="+", default=[4, 8, 10])
    parser.add_argument("--timesteps", type=int, nargs="+", default=[8, 28])
    parser.add_argument("--batch", type=int, default=64, help="samples per step")
    parser.add_argument("--repeats", type=int, default=15, help="timed steps per engine and case")
    parser.add_argument("--engines", nargs="+", choices=names, default=names)
    parser.add_argument("--threads", type=int, default=2, help="torch threads, the same for all")
    parser.add_argument(
        "--budget",
        type=float,
        default=40.0,
        help=f"seconds per engine and case; slow engines repeat less, {MIN_REPEATS} times or more",
    )
    parser.add_argument("--no-memory", action="store_true", help="skip the memory subprocesses")
    parser.add_argument("--seed", type=int, default=7, help="of weights, features and labels")
    parser.add_argument("--json", type=Path, help="also write every timed step to this file")
    args = parser.parse_args()
    if args.repeats < MIN_REPEATS:
        parser.error(f"--repeats must be at least {MIN_REPEATS}, got {args.repeats}.")
    args.engines = list(dict.fromkeys(args.engines))
    return args


def main() -> None:
    """Run every case and print the table."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    descriptions = describe_engines(args.engines)
    print(f"torch {torch.__version__}, {args.threads} threads, {os.cpu_count()} cores, ", end="")
    print(f"{platform.machine()}, load average {os.getloadavg()[0]:.1f}, ", end="")
    print(f"batch {args.batch}, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}")
    for name, description in descriptions.items():
        print(f"  {name}: {description}")
    print("growth MiB: peak resident memory during one step minus before it, in a fresh process\n")
    print(
        f"{'n':>3} {'T':>4} {'engine':<13}{'median s':>10} {'min s':>10}"
        f"{'x ours':>9} {'x (min)':>9} {'growth MiB':>10} {'repeats':>8}"
    )
    all_timings: list[Timing] = []
    for num_qubits in args.qubits:
        for num_timesteps in args.timesteps:
            case = Case(num_qubits, num_timesteps, args.batch)
            step_seconds, difference = run_case(
                case, args.engines, args.repeats, args.budget, args.seed
            )
            timings = [
                Timing(
                    engine=name,
                    case=case,
                    step_seconds=seconds,
                    peak_growth_mib=None
                    if args.no_memory
                    else run_peak_memory(name, case, args.threads, args.seed),
                )
                for name, seconds in step_seconds.items()
            ]
            print("\n".join(format_rows(timings, args.repeats)))
            print(f"         engines agree to {difference:.1e}", flush=True)
            all_timings += timings
    if args.json is not None:
        record = {
            "format_version": FORMAT_VERSION,
            "torch": torch.__version__,
            "num_threads": args.threads,
            "num_cores": os.cpu_count(),
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
            "seed": args.seed,
            "engines": descriptions,
            "timings": [asdict(timing) for timing in all_timings],
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
