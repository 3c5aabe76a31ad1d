"""Handwritten digits, read row by row."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator
from sklearn.datasets import load_digits

from qrnn_qiskit.errors import require
from qrnn_qiskit.tasks.baselines import majority_class
from qrnn_qiskit.tasks.metrics import ACCURACY
from qrnn_qiskit.tasks.spec import TaskSettings
from qrnn_qiskit.tasks.splitting import check_fractions, partition, stratified_order
from qrnn_qiskit.tasks.task import Split, Task

# One permutation for everybody, as in permuted MNIST: it does not move with the split's seed.
_PERMUTATION_SEED = 0
_MAX_PIXEL = 16.0


class DigitsSpec(TaskSettings):
    """The 8x8 digits of scikit-learn (1797 images, UCI "Optical Recognition" test set).

    Row t of an image is timestep t: 8 timesteps of 8 features in [0, 1]. The label is known after
    the last row; with fewer timesteps only the upper rows are read. Splits keep the class
    proportions, and so does every ``head(n)`` of a split. With the defaults the majority class of
    train is right on 0.103 of test, at 2.303 nats.

    Example:
        >>> task = DigitsSpec(classes=(3, 8)).load()
        >>> task.train.inputs.shape[1:], task.class_names
        ((8, 8), ('3', '8'))
    """

    name: Literal["digits"] = "digits"
    classes: tuple[int, ...] = Field(
        default=tuple(range(10)), description="Digits to tell apart, relabelled in this order."
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="Part of the images to select a model on."
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Part of the images to report the metric on."
    )
    max_train: int | None = Field(
        default=None, ge=2, description="Use at most this many training images; none uses all."
    )
    permute: bool = Field(
        default=False, description="Shuffle the 64 pixels by one fixed permutation."
    )
    num_timesteps: int = Field(
        default=8, ge=2, le=8, description="Rows of the image that are read, from the top."
    )

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[int, ...]) -> tuple[int, ...]:
        for digit in classes:
            require(
                0 <= digit <= 9, "classes", "must be digits 0 to 9", digit, "remove it from classes"
            )
        require(
            len(set(classes)) == len(classes),
            "classes",
            "must not repeat a digit",
            list(classes),
            "name each digit once",
        )
        require(
            len(classes) >= 2, "classes", "must hold at least two digits", list(classes), "add one"
        )
        return classes

    @model_validator(mode="after")
    def _check_sizes(self) -> DigitsSpec:
        check_fractions(self.validation_fraction, self.test_fraction)
        require(
            self.max_train is None or self.max_train >= len(self.classes),
            "max_train",
            f"must be at least one image for each of {len(self.classes)} classes",
            self.max_train,
            "raise it, or name fewer classes",
        )
        return self

    def load(self) -> Task:
        """Task of kind ``classification``, metric accuracy."""
        pixels, digits = load_digits(return_X_y=True)
        kept = np.flatnonzero(np.isin(digits, self.classes))
        targets = np.argmax(digits[kept, None] == np.array(self.classes), axis=1)
        images = pixels[kept].astype(np.float64) / _MAX_PIXEL
        if self.permute:
            images = images[:, np.random.default_rng(_PERMUTATION_SEED).permutation(64)]
        rows = images.reshape(-1, 8, 8)[:, : self.num_timesteps]
        whole = Split(rows, targets.astype(np.int64))
        order = stratified_order(targets, np.random.default_rng(self.seed))
        train, validation, test = (
            whole.take(part)
            for part in partition(order, self.validation_fraction, self.test_fraction)
        )
        train = train if self.max_train is None else train.head(self.max_train)
        num_classes = len(self.classes)
        return Task(
            name=self.name,
            kind="classification",
            num_outputs=num_classes,
            train=train,
            validation=validation,
            test=test,
            metric=ACCURACY,
            baselines=(majority_class(train, test, num_classes, ACCURACY),),
            class_names=tuple(str(digit) for digit in self.classes),
        )
