"""The report names the processor and counts its threads in plain English."""

import pytest
import torch

from tasks.context import processor
from tasks.evaluation_context import hardware


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread"), (2, "2 threads")])
def test_the_processor_is_named_with_its_threads(monkeypatch, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    assert hardware(torch.device("cpu")) == f"{processor()}, {said}"
    assert processor()
