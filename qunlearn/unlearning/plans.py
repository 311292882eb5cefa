"""Plans: which forget and which retained images meet in a step.

Every plan draws its orders from named streams of the seed, so that two methods that pass over the retained images see
them in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from qunlearn.data.batches import shuffled_batches
from qunlearn.training import steps_per_epoch
from qunlearn.unlearning.streams import stream

Lead = Literal["retain", "forget"]
Pass = Literal["joint", "sequential"]


@dataclass(frozen=True)
class Parts:
    """The images of one step: positions in the pool, int64, or None where the step has none of that set.

    The shares weigh the two mean losses: 1, or in a mixed batch the part's share of the batch.
    """

    forget: Tensor | None = None
    retain: Tensor | None = None
    forget_share: float = 1.0
    retain_share: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Args:
    steps: number of steps in each epoch.
    epoch: yields the steps of the next epoch.
    """

    steps: int
    epoch: Callable[[], Iterator[Parts]]


def single(name: Lead, indices: Tensor, batch_size: int, *, seed: int) -> Plan:
    """One shuffled pass over one set."""
    order = stream(seed, f"order/{name}")

    def epoch() -> Iterator[Parts]:
        for part in shuffled_batches(indices, batch_size, generator=order):
            yield Parts(forget=part) if name == "forget" else Parts(retain=part)

    return Plan(steps_per_epoch(len(indices), batch_size), epoch)


def paired(forget: Tensor, retain: Tensor, batch_size: int, *, lead: Lead, seed: int) -> Plan:
    """Each step has a forget batch and a retain batch: one shuffled pass over the `lead` set, the other one cycled.

    The cycled set goes round in batches of nearly equal size, in a new order each round, across epochs.
    """
    cycled_name: Lead = "forget" if lead == "retain" else "retain"
    sets = {"forget": forget, "retain": retain}
    leading = single(lead, sets[lead], batch_size, seed=seed)
    rounds = _cycle(sets[cycled_name], batch_size, generator=stream(seed, f"order/{cycled_name}"))

    def epoch() -> Iterator[Parts]:
        for parts in leading.epoch():
            other = next(rounds)
            yield Parts(parts.forget, other) if lead == "forget" else Parts(other, parts.retain)

    return Plan(leading.steps, epoch)


def mixed(forget: Tensor, retain: Tensor, batch_size: int, *, how: Pass, seed: int) -> Plan:
    """One pass over both sets: `joint`, shuffled together, or `sequential`, all forget before all retain batches."""
    if how == "sequential":
        first, then = single("forget", forget, batch_size, seed=seed), single("retain", retain, batch_size, seed=seed)

        def sequence() -> Iterator[Parts]:
            yield from first.epoch()
            yield from then.epoch()

        return Plan(first.steps + then.steps, sequence)
    order = stream(seed, "order/joint")
    everything = torch.arange(len(forget) + len(retain))

    def epoch() -> Iterator[Parts]:
        for part in shuffled_batches(everything, batch_size, generator=order):
            ours, others = part[part < len(forget)], part[part >= len(forget)] - len(forget)
            yield Parts(
                forget[ours] if len(ours) else None,
                retain[others] if len(others) else None,
                len(ours) / len(part),
                len(others) / len(part),
            )

    return Plan(steps_per_epoch(len(everything), batch_size), epoch)


def _cycle(indices: Tensor, batch_size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    parts = -(-len(indices) // batch_size)
    while True:
        order = indices[torch.randperm(len(indices), generator=generator)]
        yield from order.tensor_split(parts)
