"""Few forgotten samples: are they stranger to the model than even hard samples that it never saw would be?

The figure is the AUC of the loss over pairs of a forgotten and a held-out sample of one class: the share of held-out
samples whose loss is not below the forgotten sample's own, averaged over the forgotten ones. Equal losses make it
larger, never smaller, as they do the percentile of `percentiles`; so ties fail neither side.

Samples that are harder than the average have an AUC below 0.5 in a model that never saw them. What such samples, of an
AUC of `auc`, reach by chance is drawn from two normal laws of one width whose distance gives this AUC (the binormal
model; Hanley, "The Robustness of the 'Binormal' Assumptions Used in Fitting ROC Curves", Med. Decis. Making 8, 1988).
With `auc` 0.5 that is, whatever the laws are, the exact test of Mann and Whitney, class by class.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.stats import norm

from qunlearn.deletion.gates.percentiles import DRAWS
from qunlearn.evaluation.arrays import Floats, Ints

LEVEL = 0.025
"""That of one end of the 95 % interval that judges many samples. Times `DRAWS` plus one it is whole."""


def pairs_won(losses: Floats, labels: Ints, held_losses: Floats, held_labels: Ints, classes: Ints) -> Ints:
    """Pairs of a sample and a held-out sample of its class with at least the sample's loss, for each class, [C].

    Args:
        losses: any number per sample that orders as the loss does, [N]; labels: [N].
        held_losses: of the held-out samples, [M]; held_labels: [M].
        classes: [C], each with a sample on both sides.
    """
    won = []
    for one in classes:
        own, held = losses[labels == one], np.sort(held_losses[held_labels == one])
        won.append(int((len(held) - np.searchsorted(held, own, side="left")).sum()))
    return np.array(won, dtype=np.int64)


def drawn_pairs(asked: int, held: int, *, auc: float, generator: np.random.Generator, draws: int = DRAWS) -> Ints:
    """`pairs_won` of one class by chance, [draws].

    Only the smaller side is drawn; the larger one falls between its places, which takes no draw for each sample.

    Args:
        asked: samples of the class, at least 1; held: held-out samples of the class, at least 1.
        auc: probability that a pair is won, in [0, 1); with 0 no pair ever is.
    """
    lead = 2**0.5 * float(norm.ppf(auc))
    fewer, more = min(asked, held), max(asked, held)
    shift = lead if asked <= held else -lead
    places = np.sort(norm.cdf(generator.normal(size=(draws, fewer)) + shift), axis=1)
    gaps = np.diff(places, axis=1, prepend=0.0, append=1.0)
    below = generator.multinomial(more, gaps) @ np.arange(fewer, -1, -1)
    return np.asarray(below if asked <= held else asked * held - below, dtype=np.int64)


def mean_auc(won: Ints, asked: Ints, held: Ints) -> Floats:
    """AUC in [0, 1], from pairs won [..., C], the samples of each class [C] and its held-out samples [C]."""
    return np.asarray((won / held).sum(axis=-1) / asked.sum(), dtype=np.float64)


def lowest_auc(asked: Ints, held: Ints, *, auc: float, seed: int, draws: int = DRAWS) -> float:
    """The AUC below which, at `LEVEL`, samples are stranger than ones of an AUC of `auc`.

    Args:
        asked: samples of each class, [C]; held: held-out samples of each class, [C].
    """
    return _lowest_auc(tuple(asked.tolist()), tuple(held.tolist()), auc, seed, draws)


@lru_cache(maxsize=64)
def _lowest_auc(asked: tuple[int, ...], held: tuple[int, ...], auc: float, seed: int, draws: int) -> float:
    """Kept, since each candidate of a batch is held against the same law."""
    generator = np.random.default_rng(seed)
    won = [drawn_pairs(n, m, auc=auc, generator=generator, draws=draws) for n, m in zip(asked, held, strict=True)]
    found = np.sort(mean_auc(np.stack(won, axis=-1), np.array(asked), np.array(held)))
    return float(found[int(LEVEL * (draws + 1) + 0.5) - 1])
