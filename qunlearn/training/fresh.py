"""A retrained reference must start from fresh weights, not from the model it is compared with."""

from __future__ import annotations

from torch import nn

HIGHEST_SHARE = 0.01
"""Random weights of two seeds practically never coincide; a layer that starts at a constant may."""


def share_kept(model: nn.Module, original: nn.Module) -> float:
    """Share in [0, 1] of the weights of layers (parameters with two or more dimensions) that are equal in both models.

    Biases, BatchNorm and quantizer scales start at constants in every model and are not counted.
    """
    other = dict(original.named_parameters())
    pairs = [(p.detach(), other[name].detach()) for name, p in model.named_parameters() if p.ndim > 1 and name in other]
    same = sum(int((a.cpu() == b.cpu()).sum()) for a, b in pairs if a.shape == b.shape)
    return same / max(1, sum(a.numel() for a, _ in pairs))


def require_fresh(model: nn.Module, *, original: nn.Module) -> None:
    """Refuse a start for retraining that still holds weights of `original`.

    Raises:
        ValueError: more than 1 % of the weights are equal.
    """
    kept = share_kept(model, original)
    if kept > HIGHEST_SHARE:
        raise ValueError(
            f"the model to retrain keeps {100 * kept:.2f} % of the original's weights; at most "
            f"{100 * HIGHEST_SHARE:g} % may coincide. Build it with a fresh constructor and a seed of its own"
        )
