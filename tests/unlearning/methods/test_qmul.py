import pytest
import torch

from qunlearn.data.batches import infer
from qunlearn.unlearning import resolve, run
from qunlearn.unlearning.labels import similar_labels


def unlearn(method, original, problem, **settings):
    config = resolve({method: {"epochs": 2, "batch_size": 25, **settings}})[method]
    return run(method, original, problem, config, seed=3)


def test_the_paper_is_the_default():
    config = resolve({"qmul": {}})["qmul"]
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.01, 0.9, 5e-4)
    assert (config.batch_size, config.epochs, config.schedule) == (256, 10, "cosine")
    assert (config.labels, config.reweight, config.pass_) == ("similar", True, "joint")


def test_without_its_two_parts_it_is_random_labels_with_wrong_ones_only(problem, original):
    ablated = unlearn("qmul", original, problem, labels="random", reweight=False).model.state_dict()
    baseline = unlearn("random_label", original, problem, exclude_true=True).model.state_dict()
    assert all(torch.equal(ablated[name], value) for name, value in baseline.items())


@pytest.mark.parametrize("settings", [{"labels": "random"}, {"reweight": False}, {"pass": "sequential"}], ids=str)
def test_each_switch_changes_the_result(problem, original, settings):
    published = unlearn("qmul", original, problem).model.state_dict()
    other = unlearn("qmul", original, problem, **settings).model.state_dict()
    assert not all(torch.equal(other[name], value) for name, value in published.items())


def test_weights_of_each_epoch_sum_to_one_and_are_recorded(problem, original):
    for row in unlearn("qmul", original, problem).epochs:
        assert row["forget_weight"] + row["retain_weight"] == pytest.approx(1.0)
        assert 0.0 < row["forget_weight"] < 1.0


def test_reweighting_costs_a_second_pass(problem, original):
    assert unlearn("qmul", original, problem).passes == {"forget": 4.0, "retain": 4.0}
    assert unlearn("qmul", original, problem, reweight=False).passes == {"forget": 2.0, "retain": 2.0}


def test_labels_of_the_first_epoch_are_those_of_the_original_in_eval_mode(problem, original):
    """With a step of practically no length the forget loss is the cross entropy to the original's similar labels."""
    result = unlearn(
        "qmul",
        original,
        problem,
        epochs=1,
        learning_rate=0.0,
        batch_norm="freeze",
        augment=False,
        **{"pass": "sequential"},
    )
    logits = infer(original, problem.pool, problem.forget)
    labels = similar_labels(logits, problem.pool.labels[problem.forget])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert result.epochs[0]["forget_loss"] == pytest.approx(float(expected), rel=1e-5)
