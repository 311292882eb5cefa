"""The one loop of all first-order methods.

    objective.begin_epoch(model)                          # new labels, for example
    direction.begin_epoch(measure)                        # new weights, for example
    for forget images, retained images in plan:
        g_f = gradient of the mean of objective.forget    # running BatchNorm statistics
        g_r = gradient of the mean of objective.retain    # BatchNorm as the policy says
        update = direction(g_f, g_r)                      # sum, reweight, orthogonal after preconditioning, ...
        update = mask(g_f, g_r, update) * update          # saliency, probably aligned, ...
        update = update, scaled down to max_norm          # where there is a limit
        displacement = optimizer(update, learning rate)   # momentum and weight decay; frozen coordinates taken out
        parameters += displacement                        # no learned scale halves or doubles (`ScaleGuard`)
        recorder.step(...)                                # device tensors, read once an epoch
    recorder.end_epoch(model)

All parameters are one vector (`Layout`); a gradient, an update and a displacement are vectors [n].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qunlearn.quantization import ScaleGuard
from qunlearn.training import DivergedError
from qunlearn.unlearning.batch_norm import BatchNormGuard, Part
from qunlearn.unlearning.directions import Direction, Orthogonal, Update
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.masks import Factors
from qunlearn.unlearning.measurements import Measurements
from qunlearn.unlearning.objectives import Batch, Objective
from qunlearn.unlearning.optimizers import SGD, Adam, Optimizer, StrictSGD, decay_of
from qunlearn.unlearning.plans import Parts, Plan
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.projection import block_grams, cosine
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.settings import FirstOrder
from qunlearn.unlearning.streams import stream
from qunlearn.unlearning.units import lsq_units


class UnlearningDivergedError(DivergedError):
    """A loss or a weight became NaN or infinite while unlearning."""

    def __init__(self, *, method: str, epoch: int, what: str, learning_rate: float) -> None:
        self.epoch = epoch
        self.learning_rate = learning_rate
        RuntimeError.__init__(
            self,
            f"{method} diverged in epoch {epoch} at learning rate {learning_rate:.3g}: {what} is not finite; "
            f"lower unlearn.{method}.learning_rate",
        )


@dataclass(frozen=True)
class Gradient:
    """One part of a step: its images, mean loss, share of correct predictions and gradient [n]."""

    batch: Batch
    loss: Tensor
    correct: Tensor
    vector: Tensor


class Engine:
    """One run of a first-order method.

    Args:
        data: guarded access; the run starts from a copy of its original model.
        settings: of the loop, with the mask.
        objective: the two losses.
        direction: from two gradients to an update.
        plan: which images meet in a step.
        seed: of augmentation.
        recorder: where statistics go.
        method: name for messages.
        strict: project the forget momentum too; `direction` must be `Orthogonal` and the optimizer SGD.
        forecast: at the last step of each epoch, compare predicted and realised change of the retain loss.
        model: to start from instead, changed in place; for a network whose head was changed.
    """

    def __init__(
        self,
        data: Data,
        settings: FirstOrder,
        *,
        objective: Objective,
        direction: Direction,
        plan: Plan,
        seed: int,
        recorder: Recorder,
        method: str,
        strict: bool = False,
        forecast: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        self.data, self.settings, self.seed, self.recorder, self.method = data, settings, seed, recorder, method
        self.objective, self.direction, self.plan = objective, direction, plan
        self.forecast = forecast
        if data.pool.device.type == "cuda":
            # Process-wide on purpose: a scoped setting would be undone by a run that ends in another thread.
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.model = data.original() if model is None else model
        self.batch_norm = BatchNormGuard(self.model, settings.batch_norm)
        self.layout = Layout.of(self.model, units=lsq_units(self.model, data.pool.batch(data.example)[0]))
        self.optimizer = self._optimizer(strict=strict)
        self.guard = ScaleGuard(self.model)
        self.augment = {part: stream(seed, f"augment/{part}") for part in ("forget", "retain")}
        self.held_out = stream(seed, "held-out")
        self.measurements = Measurements(
            self.model, self.layout, data, objective, self.batch_norm, recorder, batch_size=settings.batch_size
        )
        self.steps = 0
        self.memory: dict[Part, Tensor] = {}
        """Where the gradients of a step are written, and those of the next one over them."""
        recorder.layer_names = self.layout.block_names
        direction.begin(self.layout)
        self.mask = None if settings.mask is None else settings.mask.build(seed=seed)
        if self.mask is not None:
            self.mask.begin(self.measurements)

    def run(self) -> nn.Module:
        """The unlearned model, in evaluation mode.

        Raises:
            UnlearningDivergedError: found at the end of the epoch in which it happened.
        """
        for epoch in range(1, self.settings.epochs + 1):
            self.objective.begin_epoch(self.model)
            self.direction.begin_epoch(self.measurements.mean_gradient_norms)
            extra: dict[str, Tensor] = {}
            for position, parts in enumerate(self.plan.epoch(epoch), start=1):
                extra = self._step(parts, epoch, last=position == self.plan.steps(epoch))
            self._end_epoch(epoch, extra)
        if self.settings.batch_norm == "recalibrate":
            self.batch_norm.recalibrate(
                self.model,
                self.data.pool,
                self.data.retain,
                batch_size=self.settings.batch_size,
                generator=stream(self.seed, "recalibrate"),
            )
        return self.model.eval()

    def _optimizer(self, *, strict: bool) -> Optimizer:
        decay = decay_of(self.model, self.layout, self.settings.weight_decay)
        if strict:
            if self.settings.optimizer != "sgd" or not isinstance(self.direction, Orthogonal):
                raise ValueError(
                    "strict projects the momentum of SGD under an orthogonal direction; use optimizer: sgd"
                )
            return StrictSGD(self.layout, decay=decay, momentum=self.settings.momentum, project=self.direction.project)
        if self.settings.optimizer == "sgd":
            return SGD(self.layout, decay=decay, momentum=self.settings.momentum)
        decoupled = self.settings.optimizer == "adamw"
        return Adam(self.layout, decay=decay, momentum=self.settings.momentum, decoupled=decoupled)

    def _step(self, parts: Parts, epoch: int, *, last: bool) -> dict[str, Tensor]:
        """One step; the last one of an epoch returns what was forecast."""
        rate = self.settings.rate(self.steps, self.plan.total(self.settings.epochs))
        forget = None if parts.forget is None else self._training_gradient("forget", parts.forget)
        retain = None if parts.retain is None else self._training_gradient("retain", parts.retain)
        g_f = None if forget is None else _scaled(forget.vector, parts.forget_share)
        g_r = None if retain is None else _scaled(retain.vector, parts.retain_share)
        update = self.direction(g_f, g_r, self.layout.blocks, precondition=self.optimizer.precondition)
        if self.mask is not None:
            update = _masked(update, self.mask(g_f, g_r, update.total))
        if self.settings.max_norm is not None:
            update = clipped(update, self.settings.max_norm)
        displacement, statistics = self.optimizer.displacement(update, rate)
        if self.mask is not None and self.mask.frozen is not None:
            displacement = displacement.masked_fill(self.mask.frozen, 0.0)
        if retain is not None:
            gram = block_grams([displacement, retain.vector], self.layout.blocks).sum(0)
            statistics["displacement_cosine"] = cosine(gram)
        realised = self._forecast(retain, displacement) if last and self.forecast and retain is not None else dict
        with self.guard:
            self.layout.move(displacement)
        self.steps += 1
        for name, part in (("forget", forget), ("retain", retain)):
            if part is not None:
                statistics |= {f"{name}_loss": part.loss, f"{name}_accuracy": 100.0 * part.correct}
        self.recorder.step(
            {"step": self.steps, "epoch": epoch, "learning_rate": rate}, update.statistics | statistics, update.layers
        )
        return realised()

    def _training_gradient(self, part: Part, indices: Tensor) -> Gradient:
        inputs, labels = self.data.pool.batch(indices, augment=self.augment[part] if self.settings.augment else None)
        self.recorder.count(part, len(indices))
        found = self._gradient(part, Batch(inputs, labels, indices.to(inputs.device)), out=self.memory.get(part))
        self.memory[part] = found.vector
        return found

    def _gradient(self, part: Part, batch: Batch, *, out: Tensor | None = None) -> Gradient:
        self.batch_norm.prepare(part, len(batch.labels))
        logits, loss = self._loss(part, batch)
        correct = (logits.detach().argmax(1) == batch.labels).double().mean()
        return Gradient(batch, loss.detach(), correct, self.layout.gradient(loss, out=out))

    def _loss(self, part: Part, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = self.model(batch.inputs)
        return logits, self.objective.losses(part, logits, batch).mean()

    def _forecast(self, retain: Gradient, displacement: Tensor) -> Callable[[], dict[str, Tensor]]:
        """Predicted change of the retain loss on this batch and on a held-out one; the result measures what came true.

        Losses are taken as in the step, with the batch's own BatchNorm statistics where the policy says so.
        """
        others = self.data.retain[~torch.isin(self.data.retain, retain.batch.indices.cpu())]
        looked_at = {"": retain}
        with self.batch_norm.untouched():
            if len(others):
                chosen = others[torch.randperm(len(others), generator=self.held_out)[: self.settings.batch_size]]
                inputs, labels = self.data.pool.batch(chosen)
                looked_at["held_out_"] = self._gradient("retain", Batch(inputs, labels, chosen.to(inputs.device)))
        figures = {
            f"predicted_{name}retain_change": block_grams([displacement, part.vector], self.layout.blocks).sum(0)[0, 1]
            for name, part in looked_at.items()
        }

        @torch.no_grad()
        def realised() -> dict[str, Tensor]:
            with self.batch_norm.untouched():
                for name, part in looked_at.items():
                    self.batch_norm.prepare("retain", len(part.batch.labels))
                    figures[f"realised_{name}retain_change"] = self._loss("retain", part.batch)[1] - part.loss
            return figures

        return realised

    def _end_epoch(self, epoch: int, extra: dict[str, Tensor]) -> None:
        sound = {"weights_sound": self.layout.values().isfinite().all()}
        row = self.recorder.end_epoch(self.model, epochs=self.settings.epochs, extra={**extra, **sound})
        lost = [name for name in ("forget_loss", "retain_loss") if not math.isfinite(row.get(name, 0.0))]
        if lost or not row.pop("weights_sound"):
            what = lost[0].replace("_", " ") if lost else "a weight"
            rate = row["learning_rate"]
            raise UnlearningDivergedError(
                method=self.method, epoch=epoch, what=f"the {what}" if lost else what, learning_rate=rate
            )


def _scaled(vector: Tensor, share: float) -> Tensor:
    return vector if share == 1.0 else share * vector


def _masked(update: Update, factors: Factors) -> Update:
    scaled = _times(update, factors.kept)
    return replace(scaled, statistics={**update.statistics, **factors.statistics})


def clipped(update: Update, max_norm: float) -> Update:
    """The update, scaled down to a norm of `max_norm` where it is longer; `clip_factor` in (0, 1] is recorded."""
    norm = torch.linalg.vector_norm(update.total, dtype=torch.float64)
    factor = (max_norm / norm).clamp_max(1.0).to(update.total.dtype)
    return replace(_times(update, factor), statistics={**update.statistics, "clip_factor": factor})


def _times(update: Update, factor: Tensor) -> Update:
    return replace(
        update,
        forget=None if update.forget is None else factor * update.forget,
        retain=None if update.retain is None else factor * update.retain,
    )
