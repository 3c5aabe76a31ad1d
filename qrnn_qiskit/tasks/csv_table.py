"""A CSV file as columns of text and numbers, with errors that name the line."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qrnn_qiskit.errors import InputError, require


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file with a header, column by column.

    ``column_to_cells`` maps a column's name to its cells, one a row; ``line_numbers`` has the
    line of the file at which each row ends.

    Example:
        >>> table = CsvTable("a.csv", {"u": ("1", "2.5")}, (2, 3))
        >>> table.numbers("u").tolist()
        [1.0, 2.5]
    """

    path: str
    column_to_cells: dict[str, tuple[str, ...]]
    line_numbers: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        """Rows below the header."""
        return len(self.line_numbers)

    def cells(self, column: str) -> tuple[str, ...]:
        """The cells of ``column``, stripped of surrounding blanks.

        Raises:
            InputError: if there is no such column, or one of its cells is empty.
        """
        require(
            column in self.column_to_cells,
            self.path,
            f"must have a column {column!r}",
            list(self.column_to_cells),
            "correct the column's name",
        )
        cells = self.column_to_cells[column]
        for cell, line in zip(cells, self.line_numbers, strict=True):
            require(
                cell != "",
                f"{self.path} line {line}, column {column!r}",
                "must not be empty",
                cell,
                "fill the cell or drop the row",
            )
        return cells

    def numbers(self, column: str) -> np.ndarray:
        """The cells of ``column`` as float64 ``(num_rows,)``.

        Raises:
            InputError: if there is no such column, or a cell is not a finite number.
        """
        return np.array(
            [
                self._number(column, cell, line)
                for cell, line in zip(self.cells(column), self.line_numbers, strict=True)
            ]
        )

    def _number(self, column: str, cell: str, line: int) -> float:
        value = parse_number(cell)
        require(
            math.isfinite(value),
            f"{self.path} line {line}, column {column!r}",
            "must be a finite number",
            cell,
            "correct the cell or drop the row",
        )
        return value


def parse_number(cell: str) -> float:
    """The number in ``cell``, ``nan`` if there is none.

    Example:
        >>> parse_number("2.5"), parse_number("two")
        (2.5, nan)
    """
    try:
        return float(cell)
    except ValueError:
        return math.nan


def load_csv_table(path: Path, delimiter: str = ",") -> CsvTable:
    r"""The table in the UTF-8 file at ``path``; blank lines are skipped.

    Raises:
        InputError: if ``path`` is not a file or not UTF-8, the header repeats or lacks a name, a
            row has another number of cells than the header, or there is no row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "a.csv"
        ...     _ = file.write_text("u,y\n1,2\n3,4\n")
        ...     load_csv_table(file).cells("y")
        ('2', '4')
    """
    require(
        path.is_file(),
        "path",
        "must be a CSV file that exists",
        str(path),
        f"correct it, relative to {Path.cwd()}",
    )
    # utf-8-sig: spreadsheets write a byte-order mark, which would else stick to the first name.
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        try:
            numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: must be UTF-8 text, got byte {error.object[error.start]:#04x}; "
                "save it as UTF-8"
            ) from error
    require(
        len(numbered) >= 2,
        str(path),
        "must hold a header and at least one row",
        len(numbered),
        "check the file",
    )
    header = numbered[0][1]
    _check_header(path, header)
    for line, row in numbered[1:]:
        require(
            len(row) == len(header),
            f"{path} line {line}",
            f"must have {len(header)} cells like the header",
            len(row),
            "correct the row",
        )
    columns = zip(*(row for _, row in numbered[1:]), strict=True)
    return CsvTable(
        path=str(path),
        column_to_cells=dict(zip(header, columns, strict=True)),
        line_numbers=tuple(line for line, _ in numbered[1:]),
    )


def _check_header(path: Path, header: list[str]) -> None:
    require(
        "" not in header and len(set(header)) == len(header),
        str(path),
        "must start with a header of distinct names",
        header,
        "name each column",
    )
