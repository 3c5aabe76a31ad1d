"""Refuses second derivatives that would be silently wrong."""

import torch


def refuse_double_backward() -> None:
    """Call first in the backward of a hand-written autograd function.

    `once_differentiable` raises only if the incoming gradient itself requires a gradient: under
    a linear loss the second derivative would be silently zero (docs/traps.md, TORCH-1). Autograd
    enables gradients inside a backward pass exactly when `create_graph` is set.

    Raises:
        RuntimeError: if a graph of the gradient is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "create_graph: the quantum layer has first derivatives only, got create_graph=True; "
            "use finite differences of gradients for a Hessian"
        )
