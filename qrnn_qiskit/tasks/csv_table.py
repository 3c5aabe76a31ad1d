"""A CSV file as columns of text and numbers, with errors that name the line."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file with a header, column by column.

    ``column_to_cells`` maps a column's name to its cells, one a row; ``line_numbers`` has the
    line of the file at which each row ends.

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
            ValueError: if there is no such column, or one of its cells is empty.
        """
        if column not in self.column_to_cells:
            raise ValueError(
                f"{self.path} must have a column {column!r}, got {list(self.column_to_cells)}; "
                "correct the column's name"
            )
        cells = self.column_to_cells[column]
        if "" in cells:
            raise ValueError(
                f"{self.path} line {self.line_numbers[cells.index('')]}: column {column!r} must "
                "not be empty, got an empty cell; fill it or drop the row"
            )
        return cells

    def numbers(self, column: str) -> np.ndarray:
        """The cells of ``column`` as float64 ``(num_rows,)``.

        Raises:
            ValueError: if there is no such column, or a cell is not a finite number.
        """
        return np.array(
            [
                self._number(column, cell, line)
                for cell, line in zip(self.cells(column), self.line_numbers, strict=True)
            ]
        )

    def _number(self, column: str, cell: str, line: int) -> float:
        value = parse_number(cell)
        if not math.isfinite(value):
            raise ValueError(
                f"{self.path} line {line}: column {column!r} must hold finite numbers, got "
                f"{cell!r}; correct the cell or drop the row"
            )
        return value


def parse_number(cell: str) -> float:
    """The number in ``cell``, ``nan`` if there is none.

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
        FileNotFoundError: if ``path`` is not a file.
        ValueError: if the header repeats or lacks a name, a row has another number of cells than
            the header, there is no row, or the text is not UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "a.csv"
    ...     _ = file.write_text("u,y\n1,2\n3,4\n")
    ...     load_csv_table(file).cells("y")
    ('2', '4')
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be a CSV file, got {path}; correct it, relative to {Path.cwd()}"
        )
    # utf-8-sig: spreadsheets write a byte-order mark, which would else stick to the first name.
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        try:
            numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} must be UTF-8 text, got byte {error.object[error.start]:#04x}; "
                "save it as UTF-8"
            ) from error
    if len(numbered) < 2:
        raise ValueError(
            f"{path} must hold a header and at least one row, got {len(numbered)} lines; "
            "check the file"
        )
    header = numbered[0][1]
    _check_header(path, header)
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise ValueError(
                f"{path} line {line}: a row must have {len(header)} cells like the header, got "
                f"{len(row)}; correct the row or set delimiter"
            )
    columns = zip(*(row for _, row in numbered[1:]), strict=True)
    return CsvTable(
        path=str(path),
        column_to_cells=dict(zip(header, columns, strict=True)),
        line_numbers=tuple(line for line, _ in numbered[1:]),
    )


def _check_header(path: Path, header: list[str]) -> None:
    if "" in header or len(set(header)) != len(header):
        raise ValueError(
            f"{path} must start with a header of distinct names, got {header}; name each column"
        )
