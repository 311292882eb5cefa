"""Retraining starts from a fresh constructor (not from 99.95 % of the old weights)."""

import copy

import pytest
import torch

from qunlearn.checkpoint import Blueprint, digest_of_model
from qunlearn.config import ModelConfig, QuantizationConfig
from qunlearn.training import require_fresh, share_kept

BLUEPRINT = Blueprint(ModelConfig(width=4), QuantizationConfig(quantizer="none"), classes=10, channels=1, image_size=8)


def only_the_last_layer_anew(original):
    """The published mistake: a "retrained" model of which one layer alone is fresh."""
    model = copy.deepcopy(original)
    torch.nn.init.normal_(model.fc.weight, generator=torch.Generator().manual_seed(0))
    return model


def test_a_fresh_model_differs_from_the_original_before_and_after_training():
    original, fresh = BLUEPRINT.build(seed=0), BLUEPRINT.build(seed=1)
    assert digest_of_model(fresh) != digest_of_model(original)
    assert share_kept(fresh, original) == 0.0
    require_fresh(fresh, original=original)


@pytest.mark.parametrize("wrong", [copy.deepcopy, only_the_last_layer_anew])
def test_a_model_that_keeps_old_weights_is_refused(wrong):
    original = BLUEPRINT.build(seed=0)
    with pytest.raises(ValueError, match=r"keeps \d+\.\d+ % of the original's weights; .* fresh constructor"):
        require_fresh(wrong(original), original=original)


def test_the_same_seed_would_be_the_same_start_and_is_refused():
    with pytest.raises(ValueError, match="seed of its own"):
        require_fresh(BLUEPRINT.build(seed=0), original=BLUEPRINT.build(seed=0))


def test_share_kept_counts_equal_weights_of_layers():
    original = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
    model = copy.deepcopy(original)
    with torch.no_grad():
        model[0].weight[0] += 1.0
    assert share_kept(model, original) == 0.5
