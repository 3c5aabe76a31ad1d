"""What is known of an IBM Quantum account and a device of it, and whether a job would run there."""

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Verdict = Literal["ok", "note", "problem"]

# Access tokens hold an hour and are renewed after 48 minutes: a clock that is late by the
# remaining 12 sends tokens that are over.
_CLOCK_NOTE_SECONDS, _CLOCK_PROBLEM_SECONDS = 60.0, 600.0
# Devices are calibrated every day.
_OLD_CALIBRATION_HOURS = 48.0
KEYS_PAGE = "https://quantum.cloud.ibm.com"
SAVE_CALL = 'QiskitRuntimeService.save_account(token="...", instance="...")'


@dataclass(frozen=True)
class Check:
    """One line of a diagnosis.

    Attributes:
        name: of what was looked at.
        verdict: `problem` where a job would not run.
        found: what there is.
        cure: what to do; empty where nothing has to be done.
    """

    name: str
    verdict: Verdict
    found: str
    cure: str = ""

    @property
    def line(self) -> str:
        """Finding and cure."""
        return f"{self.found}; {self.cure}" if self.cure else self.found


@dataclass(frozen=True)
class BackendReport:
    """What a device says of itself.

    Attributes:
        name: of the device.
        num_qubits: 0 where it was not reached.
        operational: whether it takes jobs; None where nobody was asked, as with a snapshot.
        status: `active`, or for example `maintenance`.
        num_pending: jobs that wait for it.
        instructions: names of all it has, fractional gates included.
        calibrated: when, in UTC.
        faults: what could not be asked, and why.
    """

    name: str
    num_qubits: int = 0
    operational: bool | None = None
    status: str = ""
    num_pending: int | None = None
    instructions: tuple[str, ...] = ()
    calibrated: datetime | None = None
    faults: tuple[Check, ...] = ()

    def check(self, *, needs_feedforward: bool = False) -> tuple[Check, ...]:
        """A line for everything that was found.

        Args:
            needs_feedforward: whether what is to run holds `if_else`; without it a device that
                has none is no problem.

        Example:
            >>> from qrnn_qiskit.devices import describe_backend, load_fake_backend
            >>> device = describe_backend(load_fake_backend("fake_miami"))
            >>> for each in device.check(needs_feedforward=True)[:2]:
            ...     print(each.verdict, each.line)
            ok fake_miami, 120 qubits
            problem no if_else: nothing can depend on a measurement; choose another device
        """
        checks: list[Check] = []
        if self.num_qubits:
            checks.append(Check("device", "ok", f"{self.name}, {self.num_qubits} qubits"))
        if self.operational is not None:
            checks += [self._check_status(), self._check_queue()]
        if self.instructions:
            checks += self._check_instructions(needs_feedforward)
        if self.calibrated is not None:
            checks.append(self._check_calibration(self.calibrated))
        return (*checks, *self.faults)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the date in ISO format."""
        content = asdict(self)
        del content["faults"]
        content["calibrated"] = None if self.calibrated is None else self.calibrated.isoformat()
        return content

    def _check_status(self) -> Check:
        status = self.status or "no status"
        if self.operational and status == "active":
            return Check("status", "ok", "active")
        takes = "takes jobs but does not run them" if self.operational else "takes no jobs"
        return Check("status", "problem", f"{status}: {takes}",
                     "wait until it is active, or choose another device")  # fmt: skip

    def _check_queue(self) -> Check:
        number = self.num_pending or 0
        return Check("queue", "ok", f"{number:,} job{'' if number == 1 else 's'} waiting")

    def _check_instructions(self, needs_feedforward: bool) -> list[Check]:
        if "if_else" in self.instructions:
            feedforward = Check("feedforward", "ok", "if_else")
        else:
            feedforward = Check(
                "feedforward",
                "problem" if needs_feedforward else "note",
                "no if_else: nothing can depend on a measurement",
                "choose another device" if needs_feedforward else 'loop = "feedforward" needs it',
            )
        short = [name for name in ("measure_2", "reset_2") if name in self.instructions]
        fractional = [name for name in ("rzz", "rx") if name in self.instructions]
        return [
            feedforward,
            Check("mid-circuit", "ok", ", ".join(short))
            if "measure_2" in short
            else Check("mid-circuit", "note", "no measure_2",
                       "every readout takes as long as the last one"),
            Check("fractional", "ok", ", ".join(fractional))
            if fractional
            else Check("fractional", "note", "no rzz or rx",
                       "profiles named *_fractional do not fit"),
        ]  # fmt: skip

    def _check_calibration(self, calibrated: datetime) -> Check:
        moment = f"{calibrated:%Y-%m-%d %H:%M} UTC"
        if self.operational is None and not self.faults:
            # A snapshot is as old as it is meant to be.
            return Check("calibration", "ok", moment)
        hours = max(0.0, (datetime.now(UTC) - calibrated).total_seconds() / 3600)
        if hours <= _OLD_CALIBRATION_HOURS:
            return Check("calibration", "ok", f"{hours:.0f} h old ({moment})")
        return Check("calibration", "note", f"{hours / 24:,.0f} days old ({moment})",
                     "errors may have changed since, and forecasts with them")  # fmt: skip


@dataclass(frozen=True)
class AccountReport:
    """What is known of an account; never its token, nor the whole CRN of its instance.

    Attributes:
        source: where the account comes from.
        saved_name: of a saved one.
        channel: of the service.
        reached: whether the service answered and took the token.
        instance: its name.
        instance_id: the first digits of its id, and its region.
        instance_is_set: false where the client chose it.
        num_instances: of the account.
        plan: of the instance, in small letters.
        consumed_seconds: of quantum time.
        limit_seconds: of quantum time, in the plan's period.
        remaining_seconds: of quantum time.
        limit_reached: no job runs any more.
        clock_offset_seconds: this machine's time less the service's.
        device: that was asked for.
        faults: what could not be asked, and why.
    """

    source: Literal["none", "environment", "saved"] = "none"
    saved_name: str | None = None
    channel: str | None = None
    reached: bool = False
    instance: str | None = None
    instance_id: str | None = None
    instance_is_set: bool = False
    num_instances: int = 0
    plan: str | None = None
    consumed_seconds: float | None = None
    limit_seconds: float | None = None
    remaining_seconds: float | None = None
    limit_reached: bool = False
    clock_offset_seconds: float | None = None
    device: BackendReport | None = None
    faults: tuple[Check, ...] = ()

    @property
    def modes(self) -> tuple[str, ...]:
        """In which jobs may be sent; the open plan has no sessions."""
        if not self.reached:
            return ()
        return ("job", "batch") if self.plan in (None, "open") else ("job", "batch", "session")

    def check(
        self,
        *,
        is_needed: bool = False,
        mode: str = "auto",
        qpu_seconds: float | None = None,
        needs_feedforward: bool = False,
    ) -> tuple[Check, ...]:
        """A line for everything that was found, the device's last.

        Args:
            is_needed: whether there must be an account.
            mode: that is wanted: auto, session, batch or job.
            qpu_seconds: forecast of what is to run.
            needs_feedforward: see `BackendReport.check`.

        Example:
            >>> (check,) = AccountReport().check(is_needed=True)
            >>> check.verdict, check.found
            ('problem', 'no IBM Quantum account')
        """
        checks = [] if self._has_fault("account") else [self._check_source(is_needed)]
        checks += self.faults
        if self.reached:
            checks += [Check("service", "ok", "answers, and took the token"),
                       self._check_instance(), self._check_plan(mode)]  # fmt: skip
            if not self._has_fault("usage"):
                checks.append(self._check_usage(qpu_seconds))
            if self.clock_offset_seconds is not None:
                checks.append(self._check_clock(self.clock_offset_seconds))
        if self.device is not None:
            checks += self.device.check(needs_feedforward=needs_feedforward)
        return tuple(checks)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the device's."""
        content = asdict(self)
        del content["faults"], content["device"]
        return {**content, "modes": list(self.modes)}

    def _has_fault(self, name: str) -> bool:
        return any(fault.name == name for fault in self.faults)

    def _check_source(self, is_needed: bool) -> Check:
        if self.source == "none":
            return Check("account", "problem" if is_needed else "note", "no IBM Quantum account",
                         f"save one in Python, {SAVE_CALL}, or set QISKIT_IBM_TOKEN and "
                         f"QISKIT_IBM_INSTANCE; keys are made at {KEYS_PAGE}")  # fmt: skip
        where = "from QISKIT_IBM_TOKEN"
        if self.source == "saved":
            where = f"saved as {self.saved_name}" if self.saved_name else "saved"
        asked = "" if self.reached or self.faults else ", not asked"
        return Check("account", "ok", f"{where}, channel {self.channel}{asked}")

    def _check_instance(self) -> Check:
        found = f"{self.instance or 'without a name'} ({self.instance_id})"
        if self.instance_is_set or self.num_instances < 2:
            return Check("instance", "ok", found)
        return Check("instance", "note", f"{found}, chosen out of {self.num_instances}",
                     f"name yours with {SAVE_CALL} or QISKIT_IBM_INSTANCE")  # fmt: skip

    def _check_plan(self, mode: str) -> Check:
        modes = " and ".join((", ".join(self.modes[:-1]), self.modes[-1]))
        if mode == "session" and "session" not in self.modes:
            return Check("plan", "problem", f"{self.plan or 'not told'}: {modes}, no session",
                         'set runtime.mode to "batch", "job" or "auto"')  # fmt: skip
        if self.plan in (None, "", "unknown"):
            return Check("plan", "note", "not told by the service",
                         'set runtime.mode to "batch": not every plan has sessions')  # fmt: skip
        return Check("plan", "ok", f"{self.plan}: {modes}")

    def _check_usage(self, qpu_seconds: float | None) -> Check:
        consumed = f"{self.consumed_seconds or 0.0:,.0f} s used"
        if self.limit_reached:
            return Check("usage", "problem", f"no quantum time left, {consumed}",
                         "wait for the next period, or use another instance")  # fmt: skip
        if self.remaining_seconds is None:
            return Check("usage", "ok", f"{consumed}, no limit told")
        left = f"{self.remaining_seconds:,.0f} s left, {consumed}"
        if qpu_seconds is not None and qpu_seconds > self.remaining_seconds:
            return Check("usage", "note", f"{left}, the job's forecast is {qpu_seconds:,.0f} s",
                         "lower num_samples or num_shots, or go on in the next period")  # fmt: skip
        return Check("usage", "ok", left)

    def _check_clock(self, offset: float) -> Check:
        if abs(offset) <= _CLOCK_NOTE_SECONDS:
            return Check("clock", "ok", f"within {max(2, math.ceil(abs(offset)))} s of theirs")
        verdict: Verdict = "note" if abs(offset) <= _CLOCK_PROBLEM_SECONDS else "problem"
        side = "ahead of" if offset > 0 else "behind"
        return Check("clock", verdict, f"{abs(offset):,.0f} s {side} theirs",
                     "set this machine's clock: tokens are renewed by it")  # fmt: skip
