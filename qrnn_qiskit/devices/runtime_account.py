"""The IBM Quantum account and a device of it, as `qrnn doctor` shows them: no job, no token."""

import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from qiskit.providers import BackendV2
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import AccountManager, AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import IBMInputValueError, IBMNotAuthorizedError

from qrnn_qiskit.deadline import call_with_deadline
from qrnn_qiskit.devices.account import (
    KEYS_PAGE,
    SAVE_CALL,
    AccountReport,
    BackendReport,
    Check,
)

# Above what the client's own retries take for one request, 15 s.
CALL_SECONDS = 45.0
_LONGEST_NAME = 60
_NAMES_SHOWN = 8
# What the client, and what it speaks through, would print beside our lines; a CRN is among it.
_LOGGERS = ("qiskit_ibm_runtime", "urllib3", "ibm-cloud-sdk-core")
_NETWORK = "check network, proxy and VPN, then try again"


def find_account() -> AccountReport:
    """Which account the client would use, from the environment or its file; asks no network.

    A file that is broken, and a channel that does not exist, are faults in the report.
    """
    path = _account_file()
    has_token = bool(os.environ.get("QISKIT_IBM_TOKEN"))
    # The client would make folder and file.
    if not has_token and not path.is_file():
        return AccountReport()
    try:
        account = AccountManager.get(filename=str(path))
        names = _names_of(account, path) if not has_token else ()
    except AccountNotFoundError:
        return AccountReport()
    except Exception as error:  # what a broken file makes of the client
        place = "QISKIT_IBM_CHANNEL" if has_token else "~/.qiskit/qiskit-ibm.json"
        fault = Check("account", "problem",
                      f"{place} holds no account that the client takes ({type(error).__name__})",
                      f"correct it, or save the account again with {SAVE_CALL}")  # fmt: skip
        return AccountReport("environment" if has_token else "saved", faults=(fault,))
    return AccountReport(
        "environment" if has_token else "saved",
        saved_name=_short(names[0]) if names else None,
        channel=account.channel,
        instance_is_set=account.instance not in (None, "", "auto"),
    )


def read_account(device: str | None = None, *, call_seconds: float = CALL_SECONDS) -> AccountReport:
    """The account as the service sees it, and one of its devices.

    Raises nothing for a service that is not reached, refuses the token or does not answer: that is
    a fault in the report. What the service says in an error is not quoted, it may hold a token.

    Args:
        device: for example `ibm_boston`; none unless given.
        call_seconds: after which a call counts as hanging; the client itself would wait for ever.

    Cost: network, about ten requests; no quantum time.
    """
    return read_account_and_backend(device, call_seconds=call_seconds)[0]


def read_account_and_backend(
    device: str | None, *, call_seconds: float = CALL_SECONDS
) -> tuple[AccountReport, BackendV2 | None]:
    """See `read_account`; the device itself, too, with all its gates, if it has no fault.

    Whoever goes on with it need not fetch it again.
    """
    report = find_account()
    if report.source == "none" or report.faults:
        return report, None
    backend = None
    with _quiet():
        try:
            service = call_with_deadline(_log_in, call_seconds)
            report = _add_instance(report, service, call_seconds)
        except Exception as error:  # requests, urllib3, the client and IBM's SDK raise many types
            fault = _explain("service", error, call_seconds, is_login=True)
            return replace(report, faults=(*report.faults, fault)), None
        offsets = _watch_clock(service)
        try:
            report = _add_usage(report, call_with_deadline(service.usage, call_seconds))
        except Exception as error:
            fault = _explain("usage", error, call_seconds)
            report = replace(report, faults=(*report.faults, fault))
        if device is not None:
            described, backend = _read_device(service, device, call_seconds)
            report = replace(report, device=described)
    return replace(report, clock_offset_seconds=offsets[0] if offsets else None), backend


def describe_backend(backend: BackendV2) -> BackendReport:
    """What a backend in memory says of itself: a snapshot has no status and no queue.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> "measure_2" in describe_backend(load_fake_backend("fake_boston")).instructions
        True
    """
    properties = backend.properties() if hasattr(backend, "properties") else None
    calibrated = getattr(properties, "last_update_date", None)
    if isinstance(calibrated, str):
        calibrated = datetime.fromisoformat(calibrated)
    return BackendReport(
        str(backend.name),
        num_qubits=int(backend.num_qubits),
        instructions=tuple(sorted(backend.target.operation_names)),
        calibrated=None if calibrated is None else calibrated.astimezone(UTC),
    )


def _account_file() -> Path:
    """Where `save_account` writes, by its documentation."""
    return Path("~/.qiskit/qiskit-ibm.json").expanduser()


def _names_of(account: Any, path: Path) -> tuple[str, ...]:
    saved = AccountManager.list(filename=str(path))
    return tuple(name for name, each in saved.items() if each == account)


def _log_in() -> QiskitRuntimeService:
    return QiskitRuntimeService(filename=str(_account_file()))


def _add_instance(report: AccountReport, service: Any, seconds: float) -> AccountReport:
    instances = {each.get("crn"): each for each in call_with_deadline(service.instances, seconds)}
    crn = str(service.active_instance())
    chosen = instances.get(crn, {})
    # crn:v1:bluemix:public:quantum-computing:REGION:a/ACCOUNT:ID::
    parts = crn.split(":")
    where = f"{parts[7][:8]}..., {parts[5]}" if len(parts) > 7 else "no CRN"
    return replace(
        report,
        reached=True,
        instance=_short(str(chosen.get("name") or "")) or None,
        instance_id=_short(where),
        num_instances=len(instances),
        plan=_short(str(chosen.get("plan") or "")) or None,
    )


def _add_usage(report: AccountReport, usage: dict[str, Any]) -> AccountReport:
    def seconds(*names: str) -> float | None:
        found = [usage[name] for name in names if usage.get(name) is not None]
        return float(found[0]) if found else None

    return replace(
        report,
        consumed_seconds=seconds("usage_consumed_seconds"),
        limit_seconds=seconds("usage_limit_seconds", "usage_allocation_seconds"),
        remaining_seconds=seconds("usage_remaining_seconds"),
        limit_reached=bool(usage.get("usage_limit_reached")),
    )


def _read_device(service: Any, name: str, seconds: float) -> tuple[BackendReport, BackendV2 | None]:
    try:
        backend = call_with_deadline(
            lambda: service.backend(name, use_fractional_gates=None), seconds
        )
    except QiskitBackendNotFoundError:
        return BackendReport(name, faults=(_explain_missing(service, name),)), None
    except Exception as error:
        return BackendReport(name, faults=(_explain("device", error, seconds),)), None
    # The backend's own `num_qubits` would fetch the calibration.
    report = BackendReport(name, num_qubits=int(backend.configuration().n_qubits))
    try:
        status = call_with_deadline(backend.status, seconds)
        report = replace(
            report,
            operational=bool(status.operational),
            status=_short(status.status_msg),
            num_pending=int(status.pending_jobs),
        )
    except Exception as error:
        report = replace(report, faults=(_explain("status", error, seconds),))
    try:
        described = call_with_deadline(lambda: describe_backend(backend), seconds)
    except Exception as error:
        fault = _explain("calibration", error, seconds)
        return replace(report, faults=(*report.faults, fault)), None
    report = replace(report, instructions=described.instructions, calibrated=described.calibrated)
    return report, None if report.faults else backend


def _explain_missing(service: Any, name: str) -> Check:
    # Nothing public lists names without fetching every device; without the list no names are told.
    listed = getattr(service, "_backends_info_per_instance", {})
    names = sorted({str(each.get("name")) for devices in listed.values() for each in devices})
    if name in names:
        return Check("device", "problem", f"{name} is listed, but the service did not describe it",
                     "try again")  # fmt: skip
    if not names:
        return Check("device", "problem", f"{name} was not found: the service listed no devices",
                     "try again, then check the instance")  # fmt: skip
    shown = ", ".join(map(_short, names[:_NAMES_SHOWN])) + ", ..." * (len(names) > _NAMES_SHOWN)
    return Check("device", "problem", f"{name} is no device of this account",
                 f"choose one of {shown}")  # fmt: skip


def _explain(name: str, error: Exception, seconds: float, *, is_login: bool = False) -> Check:
    """Finding and cure for what a call raised, in our words."""
    chain = list(_causes(error))
    response_statuses = (getattr(each, "status_code", None) for each in chain)
    status = next(
        (each for each in response_statuses if isinstance(each, int) and each >= 400), None
    )

    def is_any(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if isinstance(error, TimeoutError) or is_any(requests.Timeout):
        found, cure = f"no answer within {seconds:g} s", _NETWORK
    elif is_any(IBMNotAuthorizedError) or status in ((400, 401, 403) if is_login else (401, 403)):
        found = f"the service refused the token (HTTP {status or 401})"
        cure = f"make a new API key at {KEYS_PAGE}, then {SAVE_CALL} or QISKIT_IBM_TOKEN"
    elif status == 429:
        found, cure = "too many requests (HTTP 429)", "wait a minute, then try again"
    elif is_any(requests.exceptions.RetryError) or (status is not None and status >= 500):
        found = f"the service has a fault (HTTP {status or '5xx'})"
        cure = f"try again later, see its status at {KEYS_PAGE}"
    elif status is not None:
        found, cure = f"the service answered HTTP {status}", "try again; check the instance"
    elif is_any(requests.exceptions.SSLError):
        found, cure = "its certificate was not accepted", "check proxy and certificates"
    elif is_any(requests.exceptions.InvalidJSONError, json.JSONDecodeError):
        found, cure = "what answered is not the service (no JSON)", _NETWORK
    elif is_any(requests.ConnectionError):
        found, cure = "not reachable", _NETWORK
    elif is_any(IBMInputValueError):
        found = "the account has no such instance, or none that fits its settings"
        cure = "check QISKIT_IBM_INSTANCE, or the instance, region and plans that were saved"
    elif is_any(InvalidAccountError):
        found = "the client does not take the account's settings"
        cure = f"save it again with {SAVE_CALL}"
    else:
        found, cure = f"could not be asked ({type(error).__name__})", "try again"
    return Check(name, "problem", found, cure)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _watch_clock(service: Any) -> list[float]:
    """Gets this machine's time less the service's at the next answers.

    There is no public way to an answer's headers. Where a later client has other names inside,
    nothing is told about the clock.
    """
    offsets: list[float] = []

    def note(response: Any, *ignored: Any, **options: Any) -> None:
        try:
            moment = parsedate_to_datetime(response.headers["Date"])
            offsets.append(time.time() - moment.timestamp())
        except (KeyError, TypeError, ValueError):
            return

    session = getattr(getattr(service, "_active_api_client", None), "_session", None)
    hooks = getattr(session, "hooks", None)
    if isinstance(hooks, dict):
        hooks.setdefault("response", []).append(note)
    return offsets


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's warnings and log lines: what matters of them is in the report."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _short(text: object) -> str:
    """One line of bounded length."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 3] + "..."
