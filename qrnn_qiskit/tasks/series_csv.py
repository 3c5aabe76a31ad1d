"""The user's own sequences, from a CSV file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from qrnn_qiskit.errors import require
from qrnn_qiskit.tasks.baselines import constant_mean, linear_regression, majority_class
from qrnn_qiskit.tasks.csv_table import CsvTable, load_csv_table, parse_number
from qrnn_qiskit.tasks.metrics import ACCURACY, NRMSE
from qrnn_qiskit.tasks.spec import TaskSettings
from qrnn_qiskit.tasks.splitting import check_fractions, partition, stratified_order
from qrnn_qiskit.tasks.task import Split, Task, kind_of

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


class SeriesCsvSpec(TaskSettings):
    """Sequences from a CSV file with a header, in one of two layouts.

    With ``num_timesteps`` the rows are one series in order of time. Its first part trains, its
    last part tests, and each part is cut into windows that share no row; rows left over at the
    end of a part are dropped. The target is that ``horizon`` rows ahead, never in another part.
    Classification gives one class a timestep.

    With ``sample_column`` rows of equal value there form a sample, in file order; samples are
    split at random. Classification gives one class a sample, regression one number a timestep.

    Inputs, and targets in regression, are shifted and scaled to mean 0 and standard deviation 1
    over the training rows. NRMSE does not depend on the targets' scaling; the loss is in squared
    scaled units.

    Example:
        >>> spec = SeriesCsvSpec(
        ...     path="load.csv", input_columns=("u",), target_column="y", task="regression",
        ...     num_timesteps=10,
        ... )
        >>> spec.name, spec.test_fraction
        ('series_csv', 0.2)
    """

    name: Literal["series_csv"] = "series_csv"
    path: Path = Field(description="CSV file, relative to the working directory.")
    input_columns: tuple[str, ...] = Field(min_length=1, description="Columns that the model sees.")
    target_column: str = Field(description="Column to predict.")
    task: Literal["classification", "regression"] = Field(
        description="Whether the target is a class or a number."
    )
    num_timesteps: int | None = Field(
        default=None, ge=1, description="Window length, for one long series."
    )
    sample_column: str | None = Field(
        default=None, description="Column that says which sample a row belongs to."
    )
    horizon: int = Field(default=0, ge=0, description="How many rows ahead the target lies.")
    num_washout: int = Field(
        default=0, ge=0, description="Timesteps without weight at the start of a window."
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="Part of the data to select a model on."
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Part of the data to report the metric on."
    )
    delimiter: str = Field(
        default=",", min_length=1, max_length=1, description="Character between cells."
    )

    @model_validator(mode="after")
    def _check_layout(self) -> SeriesCsvSpec:
        check_fractions(self.validation_fraction, self.test_fraction)
        require(
            (self.num_timesteps is None) != (self.sample_column is None),
            "num_timesteps and sample_column",
            "must not both be given or both be missing",
            (self.num_timesteps, self.sample_column),
            "set num_timesteps to cut one series, or sample_column to group rows into samples",
        )
        require(
            self.sample_column is None or self.horizon == self.num_washout == 0,
            "horizon and num_washout",
            "must be 0 with sample_column",
            (self.horizon, self.num_washout),
            "use num_timesteps, or drop them",
        )
        require(
            self.num_timesteps is None or self.num_timesteps > self.num_washout,
            "num_timesteps",
            f"must exceed num_washout = {self.num_washout}",
            self.num_timesteps,
            "lengthen the window",
        )
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> SeriesCsvSpec:
        require(
            len(set(self.input_columns)) == len(self.input_columns),
            "input_columns",
            "must be distinct",
            list(self.input_columns),
            "name each column once",
        )
        require(
            self.horizon > 0 or self.target_column not in self.input_columns,
            "target_column",
            "must not be an input at horizon 0",
            self.target_column,
            "remove it from input_columns, or predict ahead with horizon",
        )
        require(
            self.sample_column not in (*self.input_columns, self.target_column),
            "sample_column",
            "must be neither input nor target",
            self.sample_column,
            "remove it from the others",
        )
        return self

    def load(self) -> Task:
        """Task of kind ``classification``, ``sequence_classification`` or ``sequence_regression``.

        Raises:
            InputError: if the file, a column or a cell is missing or wrong, samples differ in
                length, or there are too few rows.
        """
        table = load_csv_table(self.path, self.delimiter)
        inputs = np.column_stack([table.numbers(column) for column in self.input_columns])
        targets, class_names = self._targets(table)
        rows = self._window_rows(table) if self.sample_column is None else self._sample_rows(table)
        inputs = _standardised(inputs, rows[0], self.input_columns)
        if self.task == "regression":
            names = (self.target_column,)
            targets = _standardised(targets[:, None], rows[0] + self.horizon, names)[:, 0]
        train, validation, test = (self._split(inputs, targets, part) for part in rows)
        if self.task == "classification":
            self._check_classes_in_train(train, class_names)
        return self._task(train, validation, test, class_names)

    def _targets(self, table: CsvTable) -> tuple[np.ndarray, tuple[str, ...]]:
        if self.task == "regression":
            return table.numbers(self.target_column), ()
        cells = table.cells(self.target_column)
        class_names = _sorted_names(set(cells))
        require(
            len(class_names) >= 2,
            f"target_column {self.target_column!r}",
            "must hold at least two classes",
            list(class_names),
            "choose another column",
        )
        name_to_class = {name: index for index, name in enumerate(class_names)}
        return np.array([name_to_class[cell] for cell in cells], dtype=np.int64), class_names

    def _window_rows(self, table: CsvTable) -> _Rows:
        """Row numbers ``(num_windows, num_timesteps)`` for train, validation and test."""
        length = self.num_timesteps or 1
        parts = partition(np.arange(table.num_rows), self.validation_fraction, self.test_fraction)
        windows = []
        for role, part in zip(("train", "validation", "test"), parts, strict=True):
            num_windows = (len(part) - self.horizon) // length
            require(
                num_windows >= 1,
                f"{role} rows",
                f"must number at least num_timesteps + horizon = {length + self.horizon}",
                len(part),
                "supply more rows, shorten the window, or change the fractions",
            )
            windows.append(part[: num_windows * length].reshape(num_windows, length))
        return windows[0], windows[1], windows[2]

    def _sample_rows(self, table: CsvTable) -> _Rows:
        """Row numbers ``(num_samples, num_timesteps)`` for train, validation and test."""
        name_to_rows: dict[str, list[int]] = {}
        for row, sample in enumerate(table.cells(self.sample_column or "")):
            name_to_rows.setdefault(sample, []).append(row)
        first, first_rows = next(iter(name_to_rows.items()))
        for sample, sample_rows in name_to_rows.items():
            require(
                len(sample_rows) == len(first_rows),
                f"sample {sample!r} of {self.sample_column!r}",
                f"must have as many rows as sample {first!r}, {len(first_rows)}",
                len(sample_rows),
                "pad or cut the samples to one length",
            )
        labels = np.zeros(len(name_to_rows), dtype=np.int64)
        if self.task == "classification":
            labels = self._sample_labels(table, name_to_rows)
        order = stratified_order(labels, np.random.default_rng(self.seed))
        rows = np.array(list(name_to_rows.values()))
        train, validation, test = partition(order, self.validation_fraction, self.test_fraction)
        return rows[train], rows[validation], rows[test]

    def _sample_labels(self, table: CsvTable, name_to_rows: dict[str, list[int]]) -> np.ndarray:
        cells = np.array(table.cells(self.target_column))
        for sample, rows in name_to_rows.items():
            found = sorted(set(cells[rows].tolist()))
            require(
                len(found) == 1,
                f"target_column {self.target_column!r}",
                f"must hold one class in sample {sample!r}",
                found,
                "give the sample one class, or use num_timesteps for a class a timestep",
            )
        firsts = [rows[0] for rows in name_to_rows.values()]
        return np.asarray(np.unique(cells[firsts], return_inverse=True)[1])

    def _split(self, inputs: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> Split:
        if self.sample_column is not None and self.task == "classification":
            return Split(inputs[rows], targets[rows[:, 0]])
        weights = None
        if self.num_washout:
            weights = np.ones(rows.shape)
            weights[:, : self.num_washout] = 0.0
        return Split(inputs[rows], targets[rows + self.horizon], weights)

    def _check_classes_in_train(self, train: Split, class_names: tuple[str, ...]) -> None:
        unseen = sorted(set(range(len(class_names))) - set(train.targets.ravel().tolist()))
        require(
            not unseen,
            f"target_column {self.target_column!r}",
            "must show every class in the training rows",
            f"none of {class_names[unseen[0]]}" if unseen else "",
            "supply more rows, or drop the class",
        )

    def _task(
        self, train: Split, validation: Split, test: Split, class_names: tuple[str, ...]
    ) -> Task:
        if self.task == "classification":
            num_outputs, metric = len(class_names), ACCURACY
            baselines = [majority_class(train, test, num_outputs, metric)]
        else:
            num_outputs, metric = 1, NRMSE
            baselines = [constant_mean(train, test, NRMSE), linear_regression(train, test, NRMSE)]
        return Task(
            name=self.name,
            kind=kind_of(train.targets),
            num_outputs=num_outputs,
            train=train,
            validation=validation,
            test=test,
            metric=metric,
            baselines=tuple(baselines),
            class_names=class_names,
        )


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    """Class names in numerical order where all are numbers, else alphabetically."""
    numerical = not any(math.isnan(parse_number(name)) for name in names)
    return tuple(sorted(names, key=parse_number if numerical else None))


def _standardised(
    columns: np.ndarray, train_rows: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """``columns`` ``(num_rows, num_columns)`` with mean 0 and deviation 1 over the train rows."""
    fitted = columns[train_rows.ravel()]
    centre, scale = fitted.mean(axis=0), fitted.std(axis=0)
    for name, constant in zip(names, np.ptp(fitted, axis=0) == 0.0, strict=True):
        require(
            not constant,
            f"column {name!r}",
            "must vary over the training rows",
            "a constant",
            "remove the column, or supply more rows",
        )
    return np.asarray((columns - centre) / scale)
