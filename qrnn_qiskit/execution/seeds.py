"""A stream of request seeds whose position can be saved and restored."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass
class SeedStream:
    """Seeds for one request after another, a function of the first seed and the position.

    Example:
        >>> stream = SeedStream(7)
        >>> first = stream.draw()
        >>> first == SeedStream(7).draw(), first == stream.draw()
        (True, False)
    """

    seed: int
    position: int = 0

    def draw(self) -> int:
        """The next seed, below 2**63."""
        text = f"{self.seed}:{self.position}".encode()
        self.position += 1
        return int.from_bytes(sha256(text).digest()[:8], "little") >> 1
