"""Tiny jobs that several test modules run, as settings and as files."""

import json
from copy import deepcopy

from qrnn_qiskit.studies.spec import parse_job

# Dropout, so that a study that forgets to switch it off is found out.
FEEDFORWARD = {
    "name": "tiny",
    "task": {"name": "parity", "num_timesteps": 4, "num_train": 16, "num_validation": 8,
             "num_test": 12},
    "model": {"num_memory": 2, "readouts": [{"anchor": 0, "strength_rad": 1.2}],
              "hidden_units": 8, "dropout": 0.4, "initial_angle_rad": 2.0},
    "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.05},
    "aer": {"backend": "fake_boston", "num_samples": 6, "num_shots": 50,
            "calibration_shots": 200, "mitigations": ["local", "m3"]},
    "device_loop": {"steps": 2, "batch_size": 4, "num_shots": 20},
}  # fmt: skip

HOST = {
    "name": "tiny_host",
    "task": {"name": "parity", "num_timesteps": 3, "num_train": 8, "num_validation": 4,
             "num_test": 4},
    "model": {"loop": "host", "num_memory": 2, "hidden_units": 4, "initial_angle_rad": 1.0},
    "training": {"epochs": 1, "batch_size": 4, "learning_rate": 0.05},
    "aer": {"num_samples": 2, "num_shots": 40, "calibration_shots": 100},
    "device_loop": {"steps": 1, "batch_size": 2, "num_shots": 20},
}  # fmt: skip


def changed(settings, **overrides):
    """A copy with some keys set: `section__key=value`, or a section removed by None."""
    result = deepcopy(settings)
    for path, value in overrides.items():
        *sections, key = path.split("__")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return result


def spec_of(settings, **overrides):
    return parse_job(changed(settings, **overrides))


def toml_of(settings):
    """TOML text of settings of one level of sections."""
    top = [f"{key} = {_value(v)}" for key, v in settings.items() if not isinstance(v, dict)]
    for name, section in settings.items():
        if isinstance(section, dict):
            top += ["", f"[{name}]", *(f"{key} = {_value(v)}" for key, v in section.items())]
    return "\n".join(top) + "\n"


def write_job(folder, settings, **overrides):
    path = folder / f"{settings['name']}.toml"
    path.write_text(toml_of(changed(settings, **overrides)))
    return path


def _value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's, too.
    return json.dumps(value)
