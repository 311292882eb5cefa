"""Similar labels: mistake 8 of the field was labels that are not similar, or that belong to other images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.data.batches import infer
from qunlearn.unlearning.labels import Relabelled, random_labels, similar_labels
from qunlearn.unlearning.objectives import Batch


def slow_similar(logits, labels):
    """By loops over exact rational-like float64 probabilities."""
    chosen = []
    for row, y in zip(logits.double(), labels.tolist(), strict=True):
        p = row.softmax(0)
        others = [j for j in range(len(row)) if j != y]
        chosen.append(min(others, key=lambda j: (float((p[j] - p[y]).abs()), -float(row[j]))))
    return torch.tensor(chosen)


@st.composite
def cases(draw):
    rows, classes = draw(st.integers(1, 8)), draw(st.integers(2, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1.0, 10.0, 60.0, 400.0]))
    logits = scale * torch.randn(rows, classes, generator=generator)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_it_is_the_nearest_probability_and_never_the_true_label(case):
    logits, labels = case
    chosen = similar_labels(logits, labels)
    assert (chosen != labels).all()
    assert torch.equal(chosen, slow_similar(logits, labels))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_it_is_the_runner_up_of_a_correct_prediction_at_any_saturation(case):
    logits, _ = case
    labels = logits.argmax(1)
    runner_up = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
    top = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    assert torch.equal(logits.gather(1, similar_labels(logits, labels)[:, None])[:, 0], top)
    unique = (logits == top[:, None]).sum(1) == 1
    assert torch.equal(similar_labels(logits, labels)[unique], runner_up[unique])


def float32_similar(logits, labels):
    """The wrong variant: in float32 a saturated softmax makes all distances 1, and argmin takes the lowest index."""
    p = logits.softmax(1)
    distance = (p - p.gather(1, labels[:, None])).abs().scatter(1, labels[:, None], torch.inf)
    return distance.argmin(1)


@pytest.mark.parametrize("margin", [18.0, 30.0, 40.0, 100.0, 800.0])
def test_a_saturated_softmax_still_has_its_runner_up_where_float32_takes_the_lowest_index(margin):
    logits = torch.tensor([[-5.0, -4.0, 0.0, margin]])
    labels = torch.tensor([3])
    assert similar_labels(logits, labels).tolist() == [2]
    assert float32_similar(logits, labels).tolist() == [0]


def test_a_misclassified_image_gets_the_nearest_class_not_the_prediction():
    logits = torch.tensor([[0.6, 0.3, 0.08, 0.02]]).log()
    assert similar_labels(logits, torch.tensor([2])).tolist() == [3]


def logit_minus_probability(logits, labels):
    """The wrong variant of the released code: a logit compared with a probability."""
    own = logits.softmax(1).gather(1, labels[:, None])
    return (logits - own).abs().scatter(1, labels[:, None], torch.inf).argmin(1)


def test_comparing_logits_with_a_probability_would_choose_another_class():
    logits = torch.tensor([[9.0, 7.0, 0.9, -3.0]])
    assert similar_labels(logits, torch.tensor([0])).tolist() == [1]
    assert logit_minus_probability(logits, torch.tensor([0])).tolist() == [2]


def test_labels_stay_with_their_image_under_any_order(problem, original):
    """The wrong variant stores labels in the order in which a shuffled loader met the images."""
    pool, indices = problem.pool, problem.retain
    logits = infer(original, pool, indices)
    expected = dict(zip(indices.tolist(), similar_labels(logits, pool.labels[indices]).tolist(), strict=True))

    def table_for(order):
        table = Relabelled(
            len(pool),
            order,
            lambda model: similar_labels(infer(model, pool, order, batch_size=7), pool.labels[order]),
            device=pool.device,
        )
        table.begin_epoch(original)
        return table.table

    shuffled = indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(1))]
    for order in (indices, shuffled):
        table = table_for(order)
        assert {i: int(table[i]) for i in indices.tolist()} == expected

    in_order_met = similar_labels(infer(original, pool, shuffled), pool.labels[shuffled])
    assert dict(zip(indices.tolist(), in_order_met.tolist(), strict=True)) != expected


def test_the_loss_reads_the_table_by_position():
    table = Relabelled(5, torch.tensor([3, 1]), lambda _: torch.tensor([0, 1]), device=torch.device("cpu"))
    table.begin_epoch(torch.nn.Identity())
    assert table.table.tolist() == [-1, 1, -1, 0, -1]
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    batch = Batch(torch.empty(0), torch.tensor([9, 9]), torch.tensor([1, 3]))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0]), reduction="none")
    assert torch.equal(table.loss(logits, batch), expected)


def test_random_labels_may_equal_the_true_one_unless_excluded():
    labels = torch.zeros(3000, dtype=torch.int64)
    drawn = random_labels(labels, 3, exclude_true=False, generator=torch.Generator().manual_seed(0))
    wrong = random_labels(labels, 3, exclude_true=True, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(drawn, minlength=3).tolist() == pytest.approx([1000, 1000, 1000], rel=0.1)
    assert torch.bincount(wrong, minlength=3).tolist() == pytest.approx([0, 1500, 1500], rel=0.1)
