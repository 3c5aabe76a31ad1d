"""Which parities of the record a model reads: the numbers z_t that everything else speaks of."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.errors import require


@dataclass(frozen=True)
class ParitySet:
    """All products of one to `order` bits out of `num_bits`, each bit read as (-1)^bit.

    Singles come first, in bit order, then pairs, and so on.

    Example:
        >>> ParitySet(num_bits=2, order=2).subsets
        ((0,), (1,), (0, 1))
        >>> ParitySet(2, 2).signs.tolist()   # rows: outcomes 00, 01, 10, 11 with bit 0 lowest
        [[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]]
    """

    num_bits: int
    order: int = 1

    def __post_init__(self) -> None:
        require(self.order >= 1, "order", "must be at least 1", self.order,
                "use 1 for single bits, 2 to add products of two")  # fmt: skip

    @cached_property
    def subsets(self) -> tuple[tuple[int, ...], ...]:
        """The bits multiplied in each parity."""
        sizes = range(1, min(self.order, self.num_bits) + 1)
        return tuple(bits for size in sizes for bits in combinations(range(self.num_bits), size))

    @property
    def size(self) -> int:
        """Number of parities."""
        return len(self.subsets)

    @cached_property
    def signs(self) -> NDArray[np.float64]:
        """Value of each parity at each outcome, shape `(2**num_bits, size)`."""
        outcomes = np.arange(2**self.num_bits)
        bits = 1.0 - 2.0 * ((outcomes[:, None] >> np.arange(self.num_bits)) & 1)
        columns = [bits[:, subset].prod(axis=1) for subset in self.subsets]
        return np.stack(columns, axis=1) if columns else np.zeros((len(outcomes), 0))
