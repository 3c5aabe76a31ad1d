"""The one error type for input that a user can correct."""


class InputError(ValueError):
    """A value that breaks a stated rule.

    The message is one line that names the argument, the rule, the value received and the cure,
    so that the command line can print it as it is.

    Attributes:
        is_resumable: whether it ended a run that keeps what it has done and can go on.
        overrides: settings, `key=value`, without which going on would end in the same.
    """

    is_resumable = False
    overrides: tuple[str, ...] = ()


def require(condition: bool, argument: str, rule: str, value: object, cure: str) -> None:
    """Raises `InputError` unless the condition holds.

    Example:
        >>> require(3 > 2, "num_memory", "must be at least 2", 3, "use 2 or more")
        >>> require(False, "phi", "must lie in (0, pi/2]", 2.0, "use pi/2 for a projective readout")
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: phi: must lie in (0, pi/2], got 2.0; use pi/2 for a \
projective readout
    """
    if not condition:
        raise InputError(f"{argument}: {rule}, got {value!r}; {cure}")
