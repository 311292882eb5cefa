"""How much memory a piece of work needs at most, beyond what its process held before.

On the CPU the figure comes from the kernel's own high-water mark of the resident set (``VmHWM``), which a process may
reset, see proc(5), ``/proc/[pid]/clear_refs``. Where that is refused a thread samples the resident set, which misses
peaks shorter than its interval. On CUDA it is what PyTorch's allocator handed out.

While a cell computes its process keeps what it frees (`qunlearn.memory`): what was freed and not used again counts.

Both belong to the whole process: with several cells at once in one process the figures are shared and say nothing about
a single cell. Those cells are marked `concurrent`.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.data.batches import ImagePool
from qunlearn.memory import give_back_freed_memory

MEGABYTE = 1_000_000
SAMPLING_SECONDS = 0.005
_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"


@dataclass
class PeakMemory:
    """`megabytes` (10^6 bytes, at least 0); NaN until the block has ended."""

    megabytes: float = math.nan


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the increase of this process' peak memory while the block runs.

    Args:
        device: for a CUDA device the memory allocated on it, otherwise the process' resident set.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before, highest = torch.cuda.memory_allocated(device), lambda: torch.cuda.max_memory_allocated(device)
    else:
        give_back_freed_memory()  # so that filling it again counts as an increase
        before, highest = _resident(), _watch_resident()
    found = PeakMemory()
    try:
        yield found
    finally:
        peak = highest()
    found.megabytes = max(0, peak - before) / MEGABYTE


def warm_up(model: nn.Module, pool: ImagePool, indices: Tensor, *, batch_size: int) -> None:
    """One training step's passes with a copy of the model, before its work is measured.

    What PyTorch loads and reserves once in a process, some 25 MB, is then not counted as the first cell's. The model
    stays as it is, and nothing is drawn at random.
    """
    attempt = copy.deepcopy(model).train()
    inputs, labels = pool.batch(indices[:batch_size])
    F.cross_entropy(attempt(inputs), labels).backward()


def _watch_resident() -> Callable[[], int]:
    """A function that gives the highest resident set in bytes between this call and its own."""
    return _highest_by_kernel if _reset_by_kernel() else _Sampler().stop


def _reset_by_kernel() -> bool:
    """Set the kernel's mark to the present resident set; False where that is refused or has no effect."""
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        status = _status()
    except OSError:
        return False
    if not {"VmHWM", "VmRSS"} <= status.keys():
        return False
    # Some sandboxes accept the write and do nothing. The kernel counts in batches: a few pages of slack.
    return status["VmHWM"] <= status["VmRSS"] + 4 * MEGABYTE


def _highest_by_kernel() -> int:
    return _status()["VmHWM"]


def _status() -> dict[str, int]:
    """Memory figures of this process in bytes, by the kernel's names."""
    rows = (line.split() for line in (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


class _Sampler:
    """A thread that reads the resident set again and again."""

    def __init__(self) -> None:
        self.highest = _resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak memory", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLING_SECONDS):
            self.highest = max(self.highest, _resident())

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return max(self.highest, _resident())
