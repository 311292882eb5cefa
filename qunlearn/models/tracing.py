"""Tracing of networks beside running threads.

`torch.fx` patches ``nn.Module.__call__`` for the whole process while it traces. A network that trains in another thread
at that moment would be recorded into the trace, and fail. `trace` lets other threads' calls pass through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

construction_lock = threading.RLock()
"""Held by whatever patches modules globally or draws weights from the global generator: one thread at a time."""


class _OneThreadTracer(fx.Tracer):
    """A tracer that records the calls of the thread that made it and no others."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(model: nn.Module) -> fx.GraphModule:
    """The graph of `model`, which shares the model's layers and parameters.

    Raises:
        torch.fx.proxy.TraceError, TypeError, ValueError, ...: whatever the model's own code raises on a proxy.
    """
    with construction_lock, torch.no_grad():
        tracer = _OneThreadTracer()
        return fx.GraphModule(model, tracer.trace(model), type(model).__name__)
