"""Peak memory: what a block adds to the process, neither what it held before nor what it freed before."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import time

import numpy as np
import pytest
import torch
from torch import nn

from qunlearn import memory
from qunlearn.data.batches import ImagePool, Transform
from tasks import peak_memory as module
from tasks.peak_memory import MEGABYTE, peak_memory, warm_up

CPU = torch.device("cpu")
SLACK = 30.0
MMAP_THRESHOLD = -3
"""Parameter of mallopt(3)."""


def touch(megabytes: int) -> np.ndarray:
    """A new array whose every page is resident, long enough for a sampler to see it."""
    array = np.ones(megabytes * MEGABYTE, dtype=np.uint8)
    time.sleep(10 * module.SAMPLING_SECONDS)
    return array


def figure_after_a_bigger_array(megabytes: int) -> float:
    earlier = touch(2 * megabytes)
    del earlier
    with peak_memory(CPU) as peak:
        touch(megabytes)
    return peak.megabytes


@pytest.fixture(autouse=True)
def nothing_kept():
    """Other tests of this process may have had it keep what it frees; then a new array may lie beside a freed one."""
    memory._keeping.clear()
    memory._set((memory.MMAP_MAX, 65_536), (MMAP_THRESHOLD, 131_072), (memory.TRIM_THRESHOLD, 131_072))
    memory._set((memory.TOP_PAD, 131_072))


@pytest.fixture(params=["kernel", "sampler"])
def source(request, monkeypatch):
    if request.param == "sampler":
        monkeypatch.setattr(module, "_reset_by_kernel", lambda: False)
    elif not module._reset_by_kernel():
        pytest.skip("this system does not let a process reset its high-water mark")


def test_an_earlier_bigger_array_does_not_count(source):
    assert figure_after_a_bigger_array(200) == pytest.approx(200, abs=SLACK)


def test_memory_held_before_does_not_count(source):
    held = touch(150)
    with peak_memory(CPU) as peak:
        touch(60)
    assert held.size
    assert peak.megabytes == pytest.approx(60, abs=SLACK)


def test_memory_freed_inside_the_block_counts(source):
    with peak_memory(CPU) as peak:
        first = touch(120)
        del first
        gc.collect()
        touch(40)
    assert peak.megabytes == pytest.approx(120, abs=SLACK)


def test_a_block_that_needs_nothing_measures_almost_nothing(source):
    with peak_memory(CPU) as peak:
        pass
    assert 0.0 <= peak.megabytes < SLACK


def test_tensors_count_like_arrays(source):
    with peak_memory(CPU) as peak:
        tensor = torch.ones(25 * MEGABYTE)
        time.sleep(10 * module.SAMPLING_SECONDS)
        del tensor
    assert peak.megabytes == pytest.approx(100, abs=SLACK)


def test_a_worker_process_measures_itself():
    held = touch(300)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(figure_after_a_bigger_array, (200,)) == pytest.approx(200, abs=SLACK)
    assert held.size


def test_an_error_in_the_block_comes_through_and_stops_the_sampler(monkeypatch):
    monkeypatch.setattr(module, "_reset_by_kernel", lambda: False)
    with pytest.raises(KeyError), peak_memory(CPU):
        raise KeyError
    assert "peak memory" not in {thread.name for thread in module.threading.enumerate()}


def test_where_the_kernel_refuses_the_reset_sampling_takes_over(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_PROCESS", tmp_path)
    assert figure_after_a_bigger_array(100) == pytest.approx(100, abs=SLACK)


def test_warming_up_changes_neither_the_model_nor_the_random_state():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()
    pool = ImagePool(
        images=torch.arange(5 * 16, dtype=torch.uint8).reshape(5, 1, 4, 4),
        labels=torch.tensor([0, 1, 2, 0, 1]),
        transform=Transform(mean=(0.1,), std=(0.3,)),
        classes=3,
    )
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    warm_up(model, pool, torch.arange(5), batch_size=4)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_allocated_memory_is_measured():
    device = torch.device("cuda")
    held = torch.ones(10 * MEGABYTE, device=device)
    with peak_memory(device) as peak:
        torch.ones(25 * MEGABYTE, device=device)
    assert held.numel()
    assert peak.megabytes == pytest.approx(100, abs=2)
