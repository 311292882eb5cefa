"""The trainable parameters of a model as one vector, ordered so that each layer's block is one slice of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qunlearn.quantization import layer_blocks


@dataclass(frozen=True, eq=False)
class Layout:
    """Order of the parameters in a flat vector of length n.

    Args:
        parameters: the trainable ones, all of one dtype, block by block.
        names: what the model calls each of them.
        blocks: the slice of each block; together they cover [0, n) in order.
        block_names: the layer of each block.
        unit: [n], the unit of each coordinate where some parameters are not measured in 1, else None; see `units`.
        scaled: positions of the few coordinates whose unit is not 1, int64 [s]; None with `unit`.
    """

    parameters: tuple[nn.Parameter, ...]
    names: tuple[str, ...]
    blocks: tuple[slice, ...]
    block_names: tuple[str, ...]
    unit: Tensor | None = None
    scaled: Tensor | None = None

    @classmethod
    def of(cls, model: nn.Module, *, units: Mapping[int, float] | None = None) -> Layout:
        """One block a layer: its weight, bias, following BatchNorm and quantizer scales.

        Args:
            units: unit of a parameter by its `id`, 1 where it is not named.

        Raises:
            ValueError: a model without trainable parameters, or one that no layer owns.
        """
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        parameters: dict[str, nn.Parameter] = {}
        blocks: list[slice] = []
        layers: list[str] = []
        start = 0
        for block in layer_blocks(model):
            members = {name: trainable.pop(name) for name in block if name in trainable}
            if members:
                end = start + sum(member.numel() for member in members.values())
                parameters |= members
                blocks.append(slice(start, end))
                layers.append(block[0].rpartition(".")[0])
                start = end
        if trainable or not parameters:
            raise ValueError(f"parameters without a layer block: {sorted(trainable) or 'all, the model has none'}")
        plain = cls(tuple(parameters.values()), tuple(parameters), tuple(blocks), tuple(layers))
        if not units:
            return plain
        unit = plain.flatten([torch.full_like(p, units.get(id(p), 1.0)) for p in plain.parameters])
        return replace(plain, unit=unit, scaled=(unit != 1.0).nonzero()[:, 0])

    @property
    def tensors(self) -> tuple[slice, ...]:
        """The slice of each parameter in [0, n)."""
        ends = list(itertools.accumulate(parameter.numel() for parameter in self.parameters))
        return tuple(slice(start, end) for start, end in zip([0, *ends], ends, strict=False))

    @property
    def size(self) -> int:
        """n, the number of coordinates."""
        return sum(parameter.numel() for parameter in self.parameters)

    def flatten(self, tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
        """[n] from tensors shaped like the parameters, in their order; written to `out` where there is one."""
        return torch.cat([tensor.reshape(-1) for tensor in tensors], out=out)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Views of `flat` [n] shaped like the parameters."""
        pieces = torch.split(flat, [parameter.numel() for parameter in self.parameters])
        return [piece.view(parameter.shape) for piece, parameter in zip(pieces, self.parameters, strict=True)]

    def values(self) -> Tensor:
        """A copy of the parameters in their units, [n]."""
        return self._in_units(self.flatten([parameter.detach() for parameter in self.parameters]))

    def gradient(self, loss: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Gradient of the scalar `loss` with respect to `values`, [n]; zero where it does not depend on a parameter.

        Args:
            out: memory [n] for it: for millions of parameters, new memory costs more than the copy.
        """
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        # What arrives for a parameter of unit u is u^2 times its true derivative.
        return self._in_units(self.flatten(gradients, out=out))

    @torch.no_grad()
    def move(self, displacement: Tensor) -> None:
        """Add `displacement` [n], in the parameters' units, to the parameters in place."""
        if self.unit is None or self.scaled is None:
            torch._foreach_add_(list(self.parameters), self.views(displacement))
            return
        own = displacement[self.scaled]
        displacement[self.scaled] = own * self.unit[self.scaled]
        torch._foreach_add_(list(self.parameters), self.views(displacement))
        displacement[self.scaled] = own

    def _in_units(self, flat: Tensor) -> Tensor:
        """`flat` [n], divided in place by the unit of each coordinate that has one: all others stay untouched."""
        if self.unit is not None and self.scaled is not None:
            flat[self.scaled] /= self.unit[self.scaled]
        return flat
