import torch

from qunlearn.unlearning.streams import stream


def test_a_stream_depends_on_seed_and_name_alone():
    draws = [torch.rand(3, generator=stream(seed, name)) for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])
