"""Test accuracy of the main job over seeds: ansatz families, feedback delays, feedback cut.

Prints the table that README.md shows. Each run trains `jobs/digits_feedforward.toml` with the
exact engine; a seed draws the split of the data, the weights and the batches. A second table shows
what is left when the trained model's entangling angles are set to zero: how much of the accuracy is
owed to entanglement between memory qubits. Finished runs are kept in a CSV file and not repeated:
interrupt and start again as you like.
"""

import argparse
import csv
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from qrnn_qiskit.learning import QRNN, Trainer, evaluate_model, evaluate_outputs
from qrnn_qiskit.simulate import exact_features
from qrnn_qiskit.studies import load_job

JOB = Path(__file__).parent.parent / "jobs" / "digits_feedforward.toml"
ANSATZE = ("sim14", "line", "brick")
VARIANTS = {
    "feedback, d = 0": (),
    "feedback, d = 1": ("model.feedback_delay=1",),
    "feedback cut": ("model.loop=open",),
}
COLUMNS = ("ansatz", "variant", "seed", "accuracy", "unentangled", "loss", "majority", "seconds")


def train_once(ansatz: str, variant: str, seed: int) -> dict[str, object]:
    torch.set_num_threads(1)
    overrides = (f"model.ansatz={ansatz}", f"training.seed={seed}", f"task.seed={seed}")
    spec = load_job(JOB, (*VARIANTS[variant], *overrides))
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    start = time.monotonic()
    for _ in Trainer(model, task, spec.training).run():
        pass
    seconds = time.monotonic() - start
    result = evaluate_model(model, task, task.test)
    unentangled = evaluate_outputs(task, predict_unentangled(model, task.test.inputs), task.test)
    values = (
        ansatz, variant, seed, result.metric, unentangled.metric, result.loss,
        task.baselines[0].value, seconds,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


@torch.no_grad()
def predict_unentangled(model: QRNN, inputs: np.ndarray) -> np.ndarray:
    """Outputs with every entangling angle of the table set to zero."""
    program = model.program
    controls = model.controls(torch.from_numpy(inputs))
    table = controls[:, : program.num_table_angles].view(-1, *program.table_shape)
    table[..., ~torch.tensor(program.cell.ansatz.steered_angles)] = 0.0
    readouts = model.split_features(exact_features(program, controls))
    return model.answer(readouts).double().numpy()


def read_results(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def append_result(path: Path, result: dict[str, object]) -> None:
    is_new = not path.exists()
    with path.open("a") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def print_table(results: list[dict[str, str]], column: str) -> None:
    print("| ansatz | " + " | ".join(VARIANTS) + " |")
    print("|---|" + "---|" * len(VARIANTS))
    for ansatz in ANSATZE:
        cells = []
        for variant in VARIANTS:
            found = [
                float(row[column])
                for row in results
                if (row["ansatz"], row["variant"]) == (ansatz, variant)
            ]
            spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
            cells.append(f"{mean(found):.3f}{spread}" if found else "-")
        print(f"| {ansatz} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this minus one")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("runs/accuracy.csv"))
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    done = {
        (row["ansatz"], row["variant"], int(row["seed"])) for row in read_results(options.results)
    }
    todo = [case for case in product(ANSATZE, VARIANTS, range(options.seeds)) if case not in done]
    todo.sort(key=lambda case: case[2])
    with ProcessPoolExecutor(options.processes) as pool:
        futures = [pool.submit(train_once, *case) for case in todo]
        for number, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            append_result(options.results, result)
            print(f"{number}/{len(todo)}", *(f"{value}" for value in result.values()), flush=True)
    results = read_results(options.results)
    majority = mean(float(row["majority"]) for row in results)
    print(f"\nTest accuracy, {options.seeds} seeds, majority class {majority:.3f}\n")
    print_table(results, "accuracy")
    print("\nThe same models with their entangling angles set to zero\n")
    print_table(results, "unentangled")
    print("\n± is the standard deviation over seeds")


if __name__ == "__main__":
    main()
