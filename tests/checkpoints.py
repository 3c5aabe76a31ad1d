"""Checkpoints of device loops, compared to the bit."""

from pathlib import Path
from typing import Any

import torch


def load_loop_state(run: Path) -> dict[str, Any] | None:
    """What the device loop of a run keeps, without when things were measured; None if nothing."""
    paths = list(run.glob("device_loop-*.pt"))
    assert len(paths) <= 1
    if not paths:
        return None
    state = torch.load(paths[0], weights_only=True)["state"]
    del state["calibration_ages"]
    for evaluator in state["engine"]["calibrations"].values():
        if evaluator["calibration"]:
            num_shots, _ = evaluator["calibration"].pop("calibration")
            evaluator["num_shots"] = num_shots
    return state


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """To the bit, tensors among dictionaries and lists."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_same(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{where}[{index}]")
    else:
        assert found == expected, where
