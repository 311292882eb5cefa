"""The likelihood ratio attack against a slow reference, sample by sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

from qunlearn.evaluation.lira import PER_SAMPLE_FROM, lira_scores, standard_scores
from qunlearn.evaluation.membership import auc, tpr_at_fpr

VALUES = st.integers(-80, 80).map(lambda n: n / 8)


def slow_probabilities(phi, shadows):
    """Phi((phi - mu) / sigma), one sample at a time."""
    variances = [sum((s - np.mean(column)) ** 2 for s in column) / (len(column) - 1) for column in shadows.T]
    pooled = sum(variances) / len(variances)
    return np.array(
        [
            norm.cdf(value, loc=np.mean(column), scale=np.sqrt(own if len(shadows) >= 16 else pooled))
            for value, column, own in zip(phi, shadows.T, variances, strict=True)
        ]
    )


def test_two_shadows_by_hand():
    # Means 1 and 5; variances 2 and 8, pooled 5.
    scores = standard_scores(np.array([2.0, 0.0]), np.array([[0.0, 3.0], [2.0, 7.0]]))

    assert scores == pytest.approx([1 / 5**0.5, -5 / 5**0.5])


@pytest.mark.parametrize("count", [2, PER_SAMPLE_FROM - 1, PER_SAMPLE_FROM, PER_SAMPLE_FROM + 4])
def test_scores_agree_with_the_slow_reference_with_pooled_and_per_sample_variance(count):
    generator = np.random.default_rng(count)
    shadows = generator.normal(loc=generator.normal(size=30) * 3, scale=np.linspace(0.5, 2, 30), size=(count, 30))
    phi = generator.normal(size=30) * 3

    assert norm.cdf(standard_scores(phi, shadows)) == pytest.approx(slow_probabilities(phi, shadows), rel=1e-9)


@settings(deadline=None)
@given(data=st.data(), count=st.sampled_from([2, 3, 16]), samples=st.integers(1, 6))
def test_scores_order_samples_as_the_slow_reference_does(data, count, samples):
    shadows = data.draw(hnp.arrays(np.float64, (count, samples), elements=VALUES))
    phi = data.draw(hnp.arrays(np.float64, samples, elements=VALUES))
    if (shadows == shadows[0]).all():
        with pytest.raises(ValueError, match="seed of its own"):
            standard_scores(phi, shadows)
        return

    scores = standard_scores(phi, shadows)

    assert np.isfinite(scores).all()
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = slow_probabilities(phi, shadows)
    defined = np.isfinite(expected) & (shadows.std(axis=0) > 0 if count >= 16 else True)
    assert norm.cdf(scores)[defined] == pytest.approx(expected[defined], abs=1e-9)
    assert standard_scores(phi, shadows[::-1]) == pytest.approx(scores)


@given(phi=hnp.arrays(np.float64, (2, 5), elements=VALUES))
def test_both_figures_are_the_same_from_the_score_and_from_its_gaussian_probability(phi):
    scores = standard_scores(phi.ravel(), np.stack([np.zeros(10), np.ones(10) * 6]))
    inside, outside = scores[:5], scores[5:]

    assert auc(inside, outside) == auc(norm.cdf(inside), norm.cdf(outside))
    assert tpr_at_fpr(inside, outside, fpr=0.3) == tpr_at_fpr(norm.cdf(inside), norm.cdf(outside), fpr=0.3)


def test_the_surest_members_stay_apart_where_the_probability_rounds_to_one():
    scores = standard_scores(np.array([20.0, 30.0]), np.array([[0.0, 0.0], [1.0, 1.0]]))

    assert norm.cdf(scores[0]) == norm.cdf(scores[1]) == 1.0
    assert scores[0] < scores[1]


def test_a_sample_on_which_all_of_many_shadows_agree_has_a_finite_score():
    shadows = np.random.default_rng(0).normal(size=(16, 3))
    shadows[:, 1] = 0.1 + 0.2

    scores = standard_scores(np.array([0.0, 0.1 + 0.2, 0.0]), shadows)

    assert np.isfinite(scores).all()
    assert scores[1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("phi", "shadows", "message"),
    [
        (np.zeros(3), np.zeros((1, 3)), "1 shadow models give no variance; LiRA needs 2 or more"),
        (np.zeros(3), np.zeros((0, 3)), "0 shadow models"),
        (np.zeros(3), np.zeros((4, 2)), "saw 2 samples, the model 3"),
        (np.zeros(3), np.ones((4, 3)), "all 4 shadow models say the same; train each with a seed of its own"),
    ],
)
def test_shadows_that_give_no_score_are_refused(phi, shadows, message):
    with pytest.raises(ValueError, match=message):
        standard_scores(phi, shadows)


def models(count, *, forget_lift, seed=0):
    """`count` models' logits whose test samples all look alike, and the first one's forget samples lifted."""
    generator = np.random.default_rng(seed)
    labels = {"forget": np.arange(200) % 4, "test": np.arange(300) % 4}
    hardness = {name: generator.normal(size=(len(y), 1)) * 3 for name, y in labels.items()}
    made = []
    for index in range(count):
        logits = {}
        for name, y in labels.items():
            own = np.eye(4)[y] * (2 + hardness[name] + (forget_lift if index == 0 and name == "forget" else 0.0))
            logits[name] = (own + generator.normal(size=(len(y), 4)) * 0.5).astype(np.float32)
        made.append(logits)
    return made[0], labels, made[1:]


def test_memory_shows_even_where_the_difficulty_of_samples_hides_it_from_the_loss():
    logits, labels, shadows = models(5, forget_lift=2.0)

    forget, test = lira_scores(logits, labels, shadows)

    assert (len(forget), len(test)) == (200, 300)
    assert auc(forget, test) > 0.95
    assert tpr_at_fpr(forget, test) > 0.5


@pytest.mark.parametrize("count", [2, 4, 16])
def test_a_model_that_never_saw_the_forget_set_cannot_be_told_from_its_shadows(count):
    forget, test = lira_scores(*models(count + 1, forget_lift=0.0))

    assert auc(forget, test) == pytest.approx(0.5, abs=0.06)


def test_no_shadow_at_all_is_refused_too():
    logits, labels, _ = models(1, forget_lift=0.0)
    with pytest.raises(ValueError, match="0 shadow models"):
        lira_scores(logits, labels, [])
