"""Keyed cases, each computed once: in processes or on a cluster, into a store that survives."""

from qrnn_qiskit.sweeps.run import CaseDone, run_cases
from qrnn_qiskit.sweeps.store import Case, CaseStore, StoredCase, load_cases

__all__ = ["Case", "CaseDone", "CaseStore", "StoredCase", "load_cases", "run_cases"]
