"""What was sent and not heard of again, by runs that will not go on: jobs, bills, open sessions."""

from collections.abc import Iterator

from qrnn_qiskit.devices import is_served
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import JobError
from qrnn_qiskit.ledger import JobRecord, Ledger


def unsettled_backends(ledger: Ledger) -> list[str]:
    """Devices of the service about which a ledger has something open."""
    names = {record.intent.backend for record in (*ledger.unfinished(), *ledger.unsettled())}
    names |= {each.backend for each in ledger.sessions.records() if each.closed_at is None}
    return sorted(name for name in names if is_served(name))


def settle(ledger: Ledger, backend: str, client: RuntimeClient) -> Iterator[str]:
    """Brings a ledger up to what the service knows; a line for everything that is new.

    Nothing is sent. A run that goes on does the same by itself, part by part.

    Args:
        ledger: of the run.
        backend: whose jobs are asked for.
        client: of that device, with the ledger's sessions.

    Raises:
        InputError: if the service is not reached; what was settled before is kept.
    """
    try:
        for record in ledger.unfinished():
            if record.intent.backend == backend:
                yield f"{record.tag}  {_adopt(ledger, record, client)}"
        for record in ledger.unsettled():
            if record.intent.backend == backend and record.job_id is not None:
                metrics = client.metrics(record.job_id)
                ledger.record_metrics(record.job_id, metrics)
                if metrics.usage_seconds is not None:
                    yield f"{record.job_id}  {metrics.usage_seconds:.1f} s billed"
        num_closed = client.close_left_open()
        if num_closed:
            yield f"{num_closed} session{'s' * (num_closed > 1)} closed"
    except JobError as error:
        raise InputError(f"jobs: {error}; try again later, nothing is lost") from None


def _adopt(ledger: Ledger, record: JobRecord, client: RuntimeClient) -> str:
    """Brings a record up to what the service knows; what that is, in a few words."""
    intent_id = record.intent.intent_id
    if record.job_id is None:
        found = client.find(record.tag)
        if not found:
            return "was never sent"
        record = ledger.record_job(intent_id, found[0])
    job_id = record.job_id or ""
    state = client.status(job_id)
    ledger.record_status(intent_id, state.status)
    if state.status == "done":
        ledger.record_result(intent_id, client.result_text(job_id))
    elif state.status == "cancelled":
        ledger.record_cancelled(intent_id)
    elif state.is_final:
        ledger.record_failure(intent_id, state.reason)
    return f"{job_id} {state.status}"
