"""Where does a qubit stand on the chip? Coordinates for drawing, from the coupling alone."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Edge = tuple[int, int]
_Cell = tuple[int, int]
# Placements that the search may try: 27 qubits of a heavy hexagon need about 200.
_MAX_TRIES = 20_000
# Steps of stress majorisation; devices of irregular shape are small and settle in fewer.
_NUM_STEPS = 200


def place_qubits(
    num_qubits: int, edges: Collection[Edge], coordinates: Sequence[tuple[float, float]] = ()
) -> NDArray[np.float64]:
    """Coordinates `(num_qubits, 2)` of qubits, x to the right and y down, neighbours near 1 apart.

    The first that applies: the coordinates given; IBM's numbering, which runs through rows of a
    heavy-hex or square lattice (a neighbour with the next number stands to the right, every other
    one below); any placement on a square grid in which all neighbours are one step apart, found
    by search; distances in the plane as near as possible to those in the graph.

    Args:
        num_qubits: of the device.
        edges: pairs of neighbours.
        coordinates: IBM's own, one for each qubit; ignored if they are not, or two are equal.

    Example:
        >>> place_qubits(4, [(0, 1), (1, 2), (1, 3)]).tolist()
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]
    """
    if num_qubits > 0 and len(set(coordinates)) == len(coordinates) == num_qubits:
        given = np.array(coordinates, dtype=np.float64)
        return given - given.min(axis=0)
    near: list[list[int]] = [[] for _ in range(num_qubits)]
    for first, second in sorted({(min(edge), max(edge)) for edge in edges}):
        near[first].append(second)
        near[second].append(first)
    cells = _place_rows(near)
    if cells is None:
        cells = _search_grid(near)
    if cells is None:
        return _spread(near)
    placed = np.array(cells, dtype=np.float64).reshape(num_qubits, 2)
    return placed - placed.min(axis=0, initial=np.inf) if num_qubits else placed


def _place_rows(near: Sequence[Sequence[int]]) -> list[_Cell] | None:
    """Places by number, if every edge agrees and no two qubits fall together."""
    if len(list(_components(near))) != 1:
        return None
    cells: dict[int, _Cell] = {0: (0, 0)}
    waiting = deque([0])
    while waiting:
        here = waiting.popleft()
        for there in near[here]:
            step = (1, 0) if abs(there - here) == 1 else (0, 1)
            sign = 1 if there > here else -1
            cell = cells[here][0] + sign * step[0], cells[here][1] + sign * step[1]
            if there not in cells:
                cells[there] = cell
                waiting.append(there)
            elif cells[there] != cell:
                return None
    placed = [cells[qubit] for qubit in range(len(near))]
    return placed if len(set(placed)) == len(placed) else None


def _search_grid(near: Sequence[Sequence[int]]) -> list[_Cell] | None:
    """A placement on the grid by backtracking, straight lines first; None if none is found."""
    if len(list(_components(near))) != 1 or max(map(len, near), default=0) > 4:
        return None
    order, parents = _breadth_first(near)
    cells: dict[int, _Cell] = {order[0]: (0, 0)}
    taken: set[_Cell] = {(0, 0)}
    choices: list[Iterator[_Cell]] = []
    for _ in range(_MAX_TRIES):
        depth = len(cells)
        if depth == len(order):
            return [cells[qubit] for qubit in range(len(near))]
        if len(choices) < depth:
            choices.append(iter(_free_cells(order[depth], near, parents, cells, taken)))
        cell = next(choices[-1], None)
        if cell is not None:
            cells[order[depth]] = cell
            taken.add(cell)
            continue
        choices.pop()
        if not choices:
            return None
        taken.remove(cells.pop(order[depth - 1]))
    return None


def _breadth_first(near: Sequence[Sequence[int]]) -> tuple[list[int], dict[int, int]]:
    """Qubits from the best connected one on, those that close a ring as soon as they can."""
    start = max(range(len(near)), key=lambda qubit: (len(near[qubit]), -qubit))
    order, parents = [start], dict[int, int]()
    while len(order) < len(near):
        placed = set(order)
        frontier = [(-sum(n in placed for n in near[q]), order.index(p), q, p)
                    for p in order for q in near[p] if q not in placed]  # fmt: skip
        _, _, qubit, parent = min(frontier)
        order.append(qubit)
        parents[qubit] = parent
    return order, parents


def _free_cells(
    qubit: int,
    near: Sequence[Sequence[int]],
    parents: dict[int, int],
    cells: dict[int, _Cell],
    taken: set[_Cell],
) -> list[_Cell]:
    parent = parents[qubit]
    x, y = cells[parent]
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    if parent in parents:
        before = cells[parents[parent]]
        straight = (x - before[0], y - before[1])
        steps.sort(key=lambda step: step != straight)
    others = [cells[other] for other in near[qubit] if other in cells]
    return [
        (x + dx, y + dy)
        for dx, dy in steps
        if (x + dx, y + dy) not in taken
        and all(abs(x + dx - a) + abs(y + dy - b) == 1 for a, b in others)
    ]


def _components(near: Sequence[Sequence[int]]) -> Iterator[set[int]]:
    rest = set(range(len(near)))
    while rest:
        found = set(_distances_from(min(rest), near))
        rest -= found
        yield found


def _distances_from(start: int, near: Sequence[Sequence[int]]) -> dict[int, int]:
    distances = {start: 0}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for there in near[here]:
            if there not in distances:
                distances[there] = distances[here] + 1
                waiting.append(there)
    return distances


def _spread(near: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Classical scaling of the graph's distances, then stress majorisation.

    Gansner, Koren and North, "Graph drawing by stress majorization" (2004), equal weights.
    """
    num_qubits = len(near)
    wanted = np.full((num_qubits, num_qubits), np.nan)
    for qubit in range(num_qubits):
        for other, distance in _distances_from(qubit, near).items():
            wanted[qubit, other] = distance
    # Parts that nothing joins stand side by side.
    wanted[np.isnan(wanted)] = np.nanmax(wanted, initial=0) + 1
    centred = np.eye(num_qubits) - 1 / max(num_qubits, 1)
    values, vectors = np.linalg.eigh(-0.5 * centred @ wanted**2 @ centred)
    placed = np.zeros((num_qubits, 2))
    placed[:, : min(2, num_qubits)] = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :2]
    # Off the symmetric start, on which majorisation could rest; the size is small beside 1.
    placed += 0.01 * np.column_stack([np.sin(np.arange(num_qubits)), np.cos(np.arange(num_qubits))])
    for _ in range(_NUM_STEPS):
        steps = placed[:, None] - placed[None]
        lengths = np.linalg.norm(steps, axis=-1)
        ratio = np.divide(wanted, lengths, out=np.zeros_like(lengths), where=lengths > 1e-9)
        placed = (ratio[..., None] * steps).sum(axis=1) / num_qubits
    return placed - placed.min(axis=0, initial=0)
