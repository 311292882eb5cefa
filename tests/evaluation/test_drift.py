"""Drift of integer codes, scales and running statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation.drift import batchnorm_drift, code_flips, scale_drift


def test_code_flips_count_every_code_once():
    before = {"conv": np.array([[1, 2], [3, 4]]), "head": np.array([0] * 12)}
    after = {"conv": np.array([[1, -2], [3, 5]]), "head": np.array([0] * 11 + [1])}

    flips = code_flips(before, after)

    assert flips.layers == {"conv": 0.5, "head": pytest.approx(1 / 12)}
    assert flips.total == pytest.approx(3 / 16)  # not the mean of the layers' shares


@given(codes=hnp.arrays(np.int32, st.integers(1, 20), elements=st.integers(-8, 7)), shift=st.integers(0, 3))
def test_equal_codes_give_no_flip_and_shifted_codes_flip_all(codes, shift):
    assert code_flips({"a": codes}, {"a": codes + shift}).total == (1.0 if shift else 0.0)


def test_scale_drift_is_relative_and_averaged_over_quantizers():
    before = {"w": np.array(0.5), "x": np.array([3.0, 4.0])}
    after = {"w": np.array(0.4), "x": np.array([3.0, 5.0])}

    drift = scale_drift(before, after)

    assert drift.layers == {"w": pytest.approx(0.2), "x": pytest.approx(0.2)}
    assert drift.total == pytest.approx(0.2)


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="scale w of the original model is 0"):
        scale_drift({"w": np.zeros(2)}, {"w": np.ones(2)})


def test_batchnorm_drift_measures_means_in_standard_deviations():
    before = {"bn.running_mean": np.array([0.0, 2.0]), "bn.running_var": np.array([4.0, 1.0]), "w": np.ones(3)}
    after = {"bn.running_mean": np.array([1.0, 2.0]), "bn.running_var": np.array([4.0, 3.0]), "w": np.zeros(3)}

    # Channel 0: |1| / 2 and 0; channel 1: 0 and |2| / 1; half of each, mean over channels.
    drift = batchnorm_drift(before, after, epsilon=0.0)

    assert drift.layers == {"bn": pytest.approx((0.25 + 1.0) / 2)}
    assert drift.total == pytest.approx(0.625)


def test_a_network_without_batchnorm_has_no_such_drift():
    drift = batchnorm_drift({"w": np.ones(2)}, {"w": np.zeros(2)})

    assert (drift.total, drift.layers) == (0.0, {})


def test_models_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="differ in layers b"):
        code_flips({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)})
    with pytest.raises(ValueError, match=r"a has shape \(1,\) before and \(2,\) after"):
        scale_drift({"a": np.ones(1)}, {"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"bn\.running_mean is missing"):
        batchnorm_drift({"bn.running_mean": np.ones(1), "bn.running_var": np.ones(1)}, {"bn.running_var": np.ones(1)})
