"""The block `evaluate` of the parameters."""

import pytest

from qunlearn.config import ConfigError, EvaluateConfig, RelearnConfig, validate


def test_the_costly_metrics_are_off_by_default():
    assert (EvaluateConfig().shadows, EvaluateConfig().relearn) == (0, None)


def test_one_shadow_model_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"evaluate\.shadows = 1: one shadow model gives no variance; give 2 or more"):
        validate(EvaluateConfig, {"shadows": 1}, where="params.yaml", prefix="evaluate")
    with pytest.raises(ConfigError, match="shadows = -1"):
        validate(EvaluateConfig, {"shadows": -1}, where="params.yaml")
    assert EvaluateConfig(shadows=2).shadows == 2


def test_relearning_has_defaults_and_refuses_what_cannot_be():
    given = validate(EvaluateConfig, {"relearn": {"limit": 7}}, where="params.yaml")

    assert given.relearn == RelearnConfig(limit=7, learning_rate=0.01, batch_size=64)
    for key in ("limit", "learning_rate", "batch_size"):
        with pytest.raises(ConfigError, match=rf"relearn\.{key} = 0: "):
            validate(EvaluateConfig, {"relearn": {key: 0}}, where="params.yaml")
    with pytest.raises(ConfigError, match=r"relearn\.steps = 3: unknown key"):
        validate(EvaluateConfig, {"relearn": {"steps": 3}}, where="params.yaml")
