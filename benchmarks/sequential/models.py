"""How a model comes about: trained on everything, retrained as a reference, or made from the one before."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from benchmarks.sequential.ground import Ground
from qunlearn.checkpoint import Checkpoint
from qunlearn.data.splits import check_gate
from qunlearn.training import train
from qunlearn.unlearning import Choice, Problem, run
from tasks.workspace import derived_seed


@dataclass(frozen=True, eq=False)
class Made:
    """A model and what it cost: wall time, and passes over the samples to forget and over the retained ones."""

    model: nn.Module
    seconds: float
    forget_passes: float
    retain_passes: float

    @property
    def cost(self) -> dict[str, float]:
        names = ("seconds", "forget_passes", "retain_passes")
        return {name: float(getattr(self, name)) for name in names}


def trained(ground: Ground, images: Tensor, *, seed: int, purpose: str) -> Made:
    """A network trained from fresh weights; weights and batches have seeds of their own."""
    model = ground.blueprint.build(derived_seed(seed, f"{purpose}/weights"))
    recipe = ground.params.training
    result = train(model, ground.pool, images, recipe, seed=derived_seed(seed, f"{purpose}/batches"))
    return Made(model.eval(), result.seconds, 0.0, float(recipe.epochs))


def reference(ground: Ground, *, request: int, seed: int, copy: int) -> Made:
    """A network that never saw a sample asked for so far, with seeds that no model of an arm has."""
    return trained(ground, ground.retained(request), seed=seed, purpose=f"reference {copy} of request {request}")


def next_seed(seed: int, parent: Checkpoint) -> int:
    """As in the deletion flow: from the parent's weights, so that no two requests share a seed."""
    return derived_seed(seed, f"deletion/{parent.digest}")


def following(ground: Ground, parent: Checkpoint, choice: Choice, *, request: int, seed: int) -> Made:
    """The model after request `request`, by a method or by retraining, as the deletion flow makes it.

    Raises:
        GateError: the parent was not trained on exactly what remained before this request.
    """
    forget, retain = ground.requests[request - 1], ground.retained(request)
    check_gate(
        trained_ids=parent.trained_ids,
        forget_ids=ground.named(forget),
        retain_ids=ground.named(retain),
        held_out_ids=[*ground.named(ground.validation), *ground.named(ground.test)],
    )
    own = next_seed(seed, parent)
    problem = Problem(
        pool=ground.pool,
        forget=forget,
        retain=retain,
        validation=ground.validation,
        fresh=lambda: ground.blueprint.build(seed=own),
        recipe=ground.params.training,
    )
    result = run(choice.method, parent.model, problem, choice.base, seed=own)
    return Made(result.model, result.seconds, result.passes["forget"], result.passes["retain"])
