import torch

from qunlearn.unlearning.directions import Orthogonal
from qunlearn.unlearning.engine import Engine
from qunlearn.unlearning.methods.oeu import OeuConfig
from qunlearn.unlearning.objectives import Objective, entropy_loss
from qunlearn.unlearning.plans import paired
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder


def test_remembered_gradients_are_not_written_over_by_the_next_step(problem, original):
    """The engine keeps one vector for each part's gradient."""
    direction, seen = Orthogonal(memory=2), []

    class Watching(Recorder):
        def step(self, *arguments):
            seen.append(direction.references.clone())
            super().step(*arguments)

    config = OeuConfig(epochs=1, batch_size=25)
    Engine(
        Data(problem, original, needs={"original", "forget", "retain"}, owner="test"),
        config,
        objective=Objective(forget=lambda logits, _: entropy_loss(logits)),
        direction=direction,
        plan=paired(problem.forget, problem.retain, 25, lead="retain", seed=0),
        seed=0,
        recorder=Watching(sizes={"forget": 10, "retain": 50}, measure=lambda _: {}),
        method="test",
    ).run()
    first, second = seen
    assert len(first) == 1
    assert torch.equal(second[1], first[0])
    assert not torch.equal(second[0], second[1])
