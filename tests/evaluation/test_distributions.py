"""Histograms of confidence and loss."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation import histograms
from qunlearn.evaluation.distributions import CONFIDENCE_EDGES, LOSS_EDGES

LABELS = {"forget": np.array([0, 0]), "retain": np.array([0]), "test": np.array([0, 1])}
LOGITS = {
    "forget": np.log(np.array([[0.5, 0.5], [0.01, 0.99]])),
    "retain": np.array([[40.0, 0.0]]),  # loss 4e-18, below the first edge
    "test": np.array([[0.0, 40.0], [40.0, 0.0]]),  # loss 40, above the last edge
}


def test_shares_of_known_predictions_fall_into_the_right_bins():
    found = histograms(LOGITS, LABELS)

    confidence = found["confidence"]
    assert confidence["forget"] == [0.5] + [0.0] * 9 + [0.5] + [0.0] * 9  # 0.01 in [0, 0.05), 0.5 in [0.5, 0.55)
    assert confidence["retain"] == [0.0] * 19 + [1.0]  # 1 itself belongs to the last bin
    assert confidence["test"] == [1.0] + [0.0] * 19
    loss = found["loss"]
    assert loss["retain"] == [1.0] + [0.0] * 29
    assert loss["test"] == [0.0] * 29 + [1.0]
    for value in (np.log(2), -np.log(0.01)):
        position = np.searchsorted(LOSS_EDGES, value, side="right") - 1
        assert loss["forget"][position] == 0.5


def test_edges_are_fixed_and_the_result_is_plain_json():
    found = histograms(LOGITS, LABELS)

    assert found["confidence"]["edges"] == CONFIDENCE_EDGES.tolist()
    assert found["loss"]["edges"] == LOSS_EDGES.tolist()
    assert (found["loss"]["edges"][0], found["loss"]["edges"][-1]) == pytest.approx((1e-6, 20.0))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@given(
    logits=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 8), st.integers(2, 4)), elements=st.floats(-99, 99, width=32)
    )
)
def test_shares_sum_to_one_and_ignore_the_order_of_samples(logits):
    labels = np.zeros(len(logits), dtype=np.int64)
    names = ("forget", "retain", "test", "validation")
    found = histograms(dict.fromkeys(names, logits), dict.fromkeys(names, labels))
    turned = histograms(dict.fromkeys(names, logits[::-1]), dict.fromkeys(names, labels))

    assert found == turned
    for kind in ("confidence", "loss"):
        assert set(found[kind]) == {"edges", "forget", "retain", "test"}
        for name in ("forget", "retain", "test"):
            assert len(found[kind][name]) == len(found[kind]["edges"]) - 1
            assert sum(found[kind][name]) == pytest.approx(1.0)


def test_missing_and_broken_subsets_are_refused_by_name():
    with pytest.raises(ValueError, match="missing: test"):
        histograms({k: LOGITS[k] for k in ("forget", "retain")}, LABELS)
    with pytest.raises(ValueError, match="the retain set hold NaN"):
        histograms({**LOGITS, "retain": np.array([[np.nan, 0.0]])}, LABELS)
