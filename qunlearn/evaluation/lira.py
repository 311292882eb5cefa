"""U-LiRA, offline: is the model's confidence on a sample beyond what models that never saw the sample show?

The likelihood ratio attack of Carlini et al. (arXiv 2112.03570, section 5, offline variant), put to unlearning as Hayes
et al. (arXiv 2403.01218) do. Shadow models are trained like the retrained reference, on the retained images alone, each
with a seed of its own. Forgotten and test images alike are then "out" for every shadow model, so no shadow has to be
trained on a forgotten image.

    phi = log(p_y / (1 - p_y));   mu_i = mean over shadows of phi_i;   z_i = (phi_i of the model - mu_i) / sigma

The attack's score is Phi(z), the Gaussian probability of an out-model being less sure than this model: one-sided,
larger is more like a member. Phi is strictly increasing, so z itself gives the same AUC and the same true positive
rates; it is used because Phi(z) rounds to 1 from z = 8.3 on and would tie the surest members.

sigma: under `PER_SAMPLE_FROM` shadows one value for all samples, the root of the mean within-sample variance, because
a few shadows say nothing about the variance of one sample; from there on each sample has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints
from qunlearn.evaluation.attack_features import logit_scaled_confidences

PER_SAMPLE_FROM = 16
"""Shadow models from which on each sample has a variance of its own."""

SMALLEST_SIGMA = 1e-9
"""A sample on which all shadows agree is told from its mean, but not from the rounding of its mean."""


def standard_scores(phi: Floats, shadows: Floats) -> Floats:
    """z of each sample, [N], finite.

    Args:
        phi: of the model under attack, [N].
        shadows: phi of the same samples under each shadow model, [S, N].

    Raises:
        ValueError: fewer than two shadows, other samples, or shadows that are all the same model.
    """
    if shadows.ndim != 2 or len(shadows) < 2:
        raise ValueError(f"{len(shadows)} shadow models give no variance; LiRA needs 2 or more (evaluate.shadows)")
    if shadows.shape[1:] != phi.shape:
        raise ValueError(f"shadow models saw {shadows.shape[1]} samples, the model {len(phi)}; all must see the same")
    if (shadows == shadows[0]).all():
        raise ValueError(f"all {len(shadows)} shadow models say the same; train each with a seed of its own")
    variances = shadows.var(axis=0, ddof=1)
    sigma = np.sqrt(variances if len(shadows) >= PER_SAMPLE_FROM else variances.mean())
    result: Floats = (phi - shadows.mean(axis=0)) / np.maximum(sigma, SMALLEST_SIGMA)
    return result


def lira_scores(
    logits: Mapping[str, Floats], labels: Mapping[str, Ints], shadows: Sequence[Mapping[str, Floats]]
) -> tuple[Floats, Floats]:
    """Standard scores of the forget [F] and of the test samples [T]; the pooled variance is taken over both.

    Args:
        logits, labels: `forget` and `test`, [N, K] and [N].
        shadows: the same two subsets' logits under each shadow model.
    """
    sets = ("forget", "test")
    phi = np.concatenate([logit_scaled_confidences(logits[name], labels[name]) for name in sets])
    out = [np.concatenate([logit_scaled_confidences(one[name], labels[name]) for name in sets]) for one in shadows]
    scores = standard_scores(phi, np.stack(out) if out else np.empty((0, len(phi))))
    count = len(labels["forget"])
    return scores[:count], scores[count:]
