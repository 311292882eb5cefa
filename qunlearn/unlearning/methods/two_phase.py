"""Two-phase unlearning under retain-forget entanglement (arXiv 2603.26569, ICLR 2026). Exact.

The retained images are *adjacent*, entangled with the forget set as the rest of its superclass is, and *remote*. The
forget set is suppressed, and the accuracy on both kinds of retained images kept.

Phase 1, augmented Lagrangian with Adam, adjacent images unused; L0 is L_rem over all remote images before:

    minimise -gamma L_f + lam (L_rem - L0) + (mu / 2) (L_rem - L0)^2,   lam <- lam + mu (L_rem - L0) after each batch

Phase 2, projected descent on adjacent images with a Wasserstein-2 guard against the model after phase 1:

    L~_f = (1 - alpha) L_f + alpha W2^2
    v <- m v + grad L_adj;   u = v - Proj_span{grad L~_f, grad L_rem} v;   v <- u;   theta <- theta - eta u

All losses are cross entropies; in phase 1 that of a forget image has no gradient above `clip`. Phase 2 ascends nothing
and has no clip. The network is in evaluation mode throughout: BatchNorm's statistics never change. Images are not
augmented, since the guard and L0 compare losses of the same images. W2 is taken on each batch of forget images by
itself, which is no less than W2 of all of them, and the same where one batch holds them all.

Quantizer scales are trained in both phases like any parameter, and belong to both gradients that are projected out,
LSQ's in units that undo its gradient scale; no scale halves or doubles in a step.

Choices of ours. The ridge of the projection's Gram system is relative, see `two_phase.span`. The two gradients of phase
2 are means over the next `batch_limit` batches of endless shuffled rounds, which is the whole set where it has no more
batches.

The paper trains a float network of 224 pixels; its learning rates and its clip are not for small networks. With digit 8
forgotten among superclasses of digits (4-bit resnet8, three seeds), phase 1 with learning rate 2e-4, 3 epochs, clip 3
and 64 remote images a step, and phase 2 with 1e-3, 10 epochs and 64 adjacent images a step, all picked by hand on one
seed, gave forget, adjacent and remote test accuracies of 7, 98 and 98 %, and of 15, 99 and 97 % without the guard:
the study `entanglement-digits`.
"""

from __future__ import annotations

from torch import nn

from qunlearn.config import Strict
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register
from qunlearn.unlearning.two_phase import FirstPhase, Journal, Network, SecondPhase, first_phase, second_phase


class TwoPhaseConfig(Strict):
    """Settings of two-phase unlearning; the defaults are the paper's."""

    phase1: FirstPhase = FirstPhase()
    """Augmented Lagrangian on forget and remote images."""
    phase2: SecondPhase = SecondPhase()
    """Projected descent on adjacent images."""


@register(
    "two_phase",
    title="Two-phase unlearning under retain-forget entanglement",
    paper="arXiv 2603.26569",
    status="exact",
    config=TwoPhaseConfig,
    needs={"original", "forget", "adjacent", "remote"},
    first_order=False,
    cost="phase 1: a pass over the remote images per epoch, and as many batches of forget images; phase 2: a pass over "
    "the adjacent images per epoch, with up to `batch_limit` batches of forget and of remote images for each batch",
)
def unlearn(data: Data, config: TwoPhaseConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """The original with the forget set suppressed, and then mended on adjacent images."""
    forget, adjacent, remote = data.forget, data.adjacent, data.remote
    network = Network(data, recorder)
    journal = Journal(recorder, epochs=config.phase1.epochs + config.phase2.epochs)
    losses = network.image_losses(remote, batch_size=config.phase2.remote_batch_size)
    before = losses.double().mean()
    first_phase(network, forget, remote, settings=config.phase1, before=before, seed=seed, journal=journal)
    second_phase(network, forget, adjacent, remote, settings=config.phase2, before=before, seed=seed, journal=journal)
    return network.model
