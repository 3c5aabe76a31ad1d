"""Refuses what cannot fit into memory, before the operating system ends the process."""

import os

import torch

from qrnn_qiskit.errors import InputError


def require_memory(num_bytes: int, device: torch.device, what: str, cure: str) -> None:
    """Raises unless a device has this much memory in all.

    Args:
        num_bytes: an estimate of what will be held at once.
        device: where.
        what: is named in the error.
        cure: what the user can change.

    Raises:
        InputError: if it does not fit.
    """
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
    else:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if num_bytes > total:
        raise InputError(
            f"{what}: must fit into the {total / 2**30:.0f} GiB of {device.type}, "
            f"got about {num_bytes / 2**30:.3g} GiB; {cure}"
        )
