"""Print by how many MiB one training step raises this process's resident memory, at its peak.

``train_step.py`` starts this once per engine and case, because memory that an earlier case freed
but the allocator kept would hide a later one's growth. Linux only: it uses VmHWM in /proc.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

import torch
from engines import ENGINE_CLASSES, load_engine
from model import make_inputs, make_weights

# The question is what the step itself needs, not loaded code, thread pools and caches: a step of
# the same width on two samples and one timestep fills those. (One sample takes unbatched paths.)
WARM_UP_SAMPLES, WARM_UP_TIMESTEPS = 2, 1


def read_status_mib(key: str) -> float:
    """Return a memory entry of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(f"/proc/self/status has no {key}; run with --no-memory on this system.")


def run_step_for_peak_growth(
    engine_name: str, num_qubits: int, num_timesteps: int, num_samples: int, seed: int
) -> float:
    """Return peak resident memory during one step minus resident memory just before it, in MiB."""
    engine = load_engine(engine_name, num_qubits)
    weights = make_weights(num_qubits, seed)
    inputs = make_inputs(num_samples, num_timesteps, seed)
    engine.step(weights, make_inputs(WARM_UP_SAMPLES, WARM_UP_TIMESTEPS, seed))
    gc.collect()
    # Writing 5 sets the peak counter VmHWM back to the present VmRSS; see proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    before_mib = read_status_mib("VmRSS")
    engine.step(weights, inputs)
    return read_status_mib("VmHWM") - before_mib


def main() -> None:
    """Read the case from the command line and print its growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=list(ENGINE_CLASSES), required=True)
    parser.add_argument("--qubits", type=int, required=True)
    parser.add_argument("--timesteps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(run_step_for_peak_growth(args.engine, args.qubits, args.timesteps, args.batch, args.seed))


if __name__ == "__main__":
    main()
