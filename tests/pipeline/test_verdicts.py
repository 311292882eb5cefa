"""The verdict on networks that were really trained: 4-bit networks on digits.

The margin is twice the spread between retrained models, and an honest method's difference has 1.4 times that spread.
With normal figures an honest method is `within` in one figure with probability 0.09 for 3 seeds, 0.76 for 8 and 0.9997
for 24. So honesty is shown with 24 pairs, and what is far outside with 4. The networks are trained briefly: the rule is
relative to their spread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from torch import Tensor, nn

from qunlearn.config import (
    ClassScenario,
    DigitsSource,
    EvaluateConfig,
    ModelConfig,
    QuantizationConfig,
    RandomScenario,
    SplitConfig,
    TrainingConfig,
)
from qunlearn.data import sources
from qunlearn.data.batches import ImagePool, infer
from qunlearn.data.pool import make_pool
from qunlearn.data.splits import make_split
from qunlearn.evaluation import assemble, measure
from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.models import build
from qunlearn.quantization import quantize
from qunlearn.quantization.audit import audit, departures
from qunlearn.training import share_kept, train
from qunlearn.unlearning import Problem, resolve, run

pytestmark = pytest.mark.slow

PAIRS, FEW = 24, 4
FORGOTTEN = 3
SCENARIOS = {
    "class": ClassScenario(kind="class", classes=[FORGOTTEN]),
    "random": RandomScenario(fraction=0.1),
}
QUANTIZATION = QuantizationConfig(quantizer="lsq", weight_bits=4, activation_bits=4)
RECIPE = TrainingConfig(
    epochs=6, batch_size=128, learning_rate=0.1, warmup_epochs=1, crop_padding=0, flip=False, device="cpu"
)
Subsets = Mapping[str, Tensor]


class Digits:
    """The images, the subsets of each scenario, and networks trained on them."""

    def __init__(self) -> None:
        image_set = sources.read(DigitsSource())
        self.pool: ImagePool = make_pool(image_set, target="fine")
        splits = {
            kind: make_split(
                image_set, SplitConfig(scenario=scenario), target="fine", erased=frozenset(), erased_digest=""
            )
            for kind, scenario in SCENARIOS.items()
        }
        self.subsets: dict[str, Subsets] = {
            kind: {
                "forget": split.indices(image_set, partition="train", subset="forget"),
                "retain": split.indices(image_set, partition="train", subset="retain"),
                "validation": split.indices(image_set, partition="validation"),
                "test": split.indices(image_set, partition="test"),
            }
            for kind, split in splits.items()
        }
        # The partitions do not depend on the scenario, so an original serves both.
        everything = splits["class"].indices(image_set, partition="train")
        self.originals = [self.trained(everything, seed) for seed in range(FEW)]

    def fresh(self, seed: int) -> nn.Module:
        network = build(ModelConfig(name="resnet8", width=4), classes=10, channels=1, image_size=8, seed=seed)
        return quantize(network, QUANTIZATION)

    def trained(self, indices: Tensor, seed: int) -> nn.Module:
        network = self.fresh(seed)
        train(network, self.pool, indices, RECIPE, seed=seed)
        return network

    def cell(self, method: str, seed: int, network: nn.Module, scenario: str) -> dict[str, Any]:
        subsets = self.subsets[scenario]
        logits = {name: infer(network, self.pool, indices).numpy() for name, indices in subsets.items()}
        labels = {name: self.pool.labels[indices].numpy() for name, indices in subsets.items()}
        metrics = measure(logits, labels, config=EvaluateConfig(bootstrap=0))
        return {"method": method, "seed": seed, "scenario": scenario, "metrics": metrics, "stats": {}, "run_id": ""}


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


@pytest.fixture(scope="module")
def retrained(digits: Digits) -> Callable[..., list[dict[str, Any]]]:
    """Cells of retrained models; `first` keeps the seeds of two calls apart."""

    def cells(method: str, scenario: str, *, count: int, first: int) -> list[dict[str, Any]]:
        retain = digits.subsets[scenario]["retain"]
        networks = [digits.trained(retain, first + seed) for seed in range(count)]
        return [digits.cell(method, seed, network, scenario) for seed, network in enumerate(networks)]

    return cells


@pytest.fixture(scope="module")
def class_references(retrained: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return retrained("retrain", "class", count=PAIRS, first=1000)


def judged(references: list[dict[str, Any]], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary row of the one method in `cells`; its figures are printed, for whoever reads a failure."""
    row = next(row for row in assemble([*references, *cells], {})["summary"] if row["method"] == cells[0]["method"])
    print(f"\n{row['method']}: {row['verdict']}, {len(row['seeds'])} seeds")
    for name, verdict in row["verdicts"].items():
        low, high = verdict["interval"]
        print(f"  {name}: {verdict['verdict']}, [{low:.2f}, {high:.2f}], margin {verdict['margin']:.2f} points")
    return row


def test_honest_retraining_presented_as_a_method_is_within(retrained, class_references):
    row = judged(class_references, retrained("honest", "class", count=PAIRS, first=2000))

    assert row["mean"]["retain_accuracy"] > 90.0  # the networks have learned
    assert {name: row["verdicts"][name]["verdict"] for name in GAP_METRICS} == dict.fromkeys(GAP_METRICS, "within")
    assert row["verdict"] == "within"


def test_an_untouched_original_presented_as_a_method_is_under(digits, class_references):
    cells = [digits.cell("untouched", seed, network, "class") for seed, network in enumerate(digits.originals)]
    row = judged(class_references, cells)

    assert row["mean"]["forget_accuracy"] > 80.0
    assert row["verdicts"]["forget_accuracy"]["verdict"] == "under"
    assert row["verdict"] == "under"


def test_forgetting_to_chance_is_no_success_where_retraining_still_knows_the_images(digits, retrained):
    references = retrained("retrain", "random", count=FEW, first=3000)
    settings = {"learning_rate": 1.0, "epochs": 10, "batch_size": 64, "schedule": "constant"}
    config = resolve({"gradient_ascent": settings})["gradient_ascent"]
    subsets = digits.subsets["random"]
    problem = Problem(
        pool=digits.pool,
        forget=subsets["forget"],
        retain=subsets["retain"],
        validation=subsets["validation"],
        fresh=lambda: digits.fresh(0),
        recipe=RECIPE,
    )
    networks = [
        run("gradient_ascent", model, problem, config, seed=s).model for s, model in enumerate(digits.originals)
    ]
    row = judged(references, [digits.cell("chance", seed, network, "random") for seed, network in enumerate(networks)])

    assert min(cell["metrics"]["forget_accuracy"] for cell in references) > 75.0
    assert row["mean"]["forget_accuracy"] < 25.0
    assert row["verdicts"]["forget_accuracy"]["verdict"] == "over"
    assert row["verdicts"]["test_accuracy"]["verdict"] == "damaged"
    assert row["verdict"] in ("over", "damaged")


def test_the_networks_have_4_bits_and_share_no_weights(digits):
    first, second = digits.originals[:2]

    assert departures(first, QUANTIZATION) == []
    assert {row.weight_bits for row in audit(first) if not row.edge} == {4}
    assert share_kept(first, second) < 0.01
