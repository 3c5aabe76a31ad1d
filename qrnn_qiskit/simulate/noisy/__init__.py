"""The compiled circuit with a device's errors, exactly: what noisy Aer samples, without shots.

The state is a real vector of Pauli coefficients for each record that can still steer; a channel is
a real matrix. Flattened circuit -> passes over the state -> a plan of merged matrices -> torch.
"""

from qrnn_qiskit.simulate.noisy.plan import NoisyPlan, build_noisy_plan
from qrnn_qiskit.simulate.noisy.run import noisy_features, run_noisy

__all__ = ["NoisyPlan", "build_noisy_plan", "noisy_features", "run_noisy"]
