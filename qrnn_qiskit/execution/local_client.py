"""Jobs without a service: the path of real jobs, run by a simulator in this process."""

import base64
import json
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.contract import Executor
from qrnn_qiskit.execution.runtime_jobs import JobOrder, JobState
from qrnn_qiskit.files import write_whole
from qrnn_qiskit.ledger import JobMetrics

_FORMAT_VERSION = 1
_PREFIX = "local-"


class LocalClient:
    """Runs each job on an executor while it is submitted; see `JobClient`.

    A job has the seed of `seed_of`: with `AerExecutor` a request that is one job has the bits of
    `AerExecutor.run(request)`. It uses no quantum time, so that its usage is 0.

    Args:
        executor: for example `AerExecutor` with a device's noise.
        backend_name: for example `fake_boston`.
        folder: of results, so that a later process finds them; in memory if left out.

    Example:
        >>> from qrnn_qiskit.execution.fake import ScriptedExecutor
        >>> client = LocalClient(ScriptedExecutor(), "fake_boston")
        >>> client.name, client.find("some-tag"), client.status("local-some-tag").status
        ('fake_boston', [], 'lost')
    """

    def __init__(
        self, executor: Executor, backend_name: str, folder: str | Path | None = None
    ) -> None:
        self._executor = executor
        self._name = backend_name
        self._folder = None if folder is None else Path(folder)
        self._texts: dict[str, str] = {}

    @property
    def name(self) -> str:
        """See `JobClient`."""
        return self._name

    @property
    def account(self) -> str | None:
        """None: there is one folder."""
        return None

    @property
    def call_seconds(self) -> float | None:
        """None: a simulation takes its time."""
        return None

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def submit(self, order: JobOrder) -> str:
        """Runs the job. If it is interrupted there is no job, and it may be submitted again.

        Raises:
            InputError: as the executor does, or if the result cannot be written.
        """
        text = _encode(self._executor.run(order.request).bits)
        if self._folder is None:
            self._texts[order.tag] = text
        else:
            write_whole(
                self._path(order.tag), partial(_write, text), "free space or choose another folder"
            )
        return _PREFIX + order.tag

    def find(self, tag: str) -> list[str]:
        """See `JobClient`."""
        return [_PREFIX + tag] if self._is_known(tag) else []

    def status(self, job_id: str) -> JobState:
        """`done`, or `lost` if nothing is known of it."""
        if self._is_known(job_id.removeprefix(_PREFIX)):
            return JobState("done")
        return JobState("lost", "its simulation was interrupted or its file removed")

    def result_text(self, job_id: str) -> str:
        """See `JobClient`."""
        tag = job_id.removeprefix(_PREFIX)
        if self._folder is None:
            return self._texts[tag]
        try:
            return self._path(tag).read_text()
        except OSError as error:
            raise InputError(
                f"{self._path(tag)}: must be readable, got {error.strerror}; run again"
            ) from error

    def decode_result(self, text: str, order: JobOrder) -> NDArray[np.uint8]:
        """See `JobClient`."""
        content = json.loads(text)
        shape = tuple(content["shape"])
        if shape != order.shape:
            raise ValueError(f"bits of shape {shape} instead of {order.shape}")
        packed = np.frombuffer(base64.b64decode(content["bits"]), dtype=np.uint8)
        return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)

    def metrics(self, job_id: str) -> JobMetrics:
        """A usage of 0."""
        return JobMetrics(usage_seconds=0.0)

    def update_session(self) -> None:
        """There is none."""

    def cancel(self, job_id: str) -> None:
        """Nothing: jobs are done or were never there."""

    def _is_known(self, tag: str) -> bool:
        return tag in self._texts if self._folder is None else self._path(tag).exists()

    def _path(self, tag: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{tag}.json"


def _encode(bits: NDArray[np.uint8]) -> str:
    packed = base64.b64encode(np.packbits(bits).tobytes()).decode()
    return json.dumps({"format_version": _FORMAT_VERSION, "shape": bits.shape, "bits": packed})


def _write(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())
