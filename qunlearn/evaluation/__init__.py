"""Metrics as pure functions of arrays.

`measure` gives the figures of one model, `assemble` compares models: both are all a pipeline needs. A further metric
is one more function; a figure per model joins `suite`, a figure between models joins `summary`.
"""

from qunlearn.evaluation.distributions import histograms
from qunlearn.evaluation.drift import Drift, batchnorm_drift, code_flips, scale_drift
from qunlearn.evaluation.selection import estimated_gap
from qunlearn.evaluation.suite import measure
from qunlearn.evaluation.summary import assemble

__all__ = [
    "Drift",
    "assemble",
    "batchnorm_drift",
    "code_flips",
    "estimated_gap",
    "histograms",
    "measure",
    "scale_drift",
]
