"""The one configuration: pydantic models of ``params.yaml``.

Every block forbids unknown keys. `load` turns each violation into one line that names the key, the value found and what
is allowed, and raises `ConfigError` with those lines.
"""

from qunlearn.config.base import ConfigError, Strict
from qunlearn.config.data import (
    ClassLabel,
    ClassScenario,
    DataConfig,
    DigitsSource,
    Fraction,
    GroupScenario,
    IdsScenario,
    ImageFolderSource,
    RandomScenario,
    Scenario,
    SplitConfig,
    SubclassScenario,
    TorchvisionSource,
)
from qunlearn.config.explanations import validate
from qunlearn.config.gates import GatesConfig
from qunlearn.config.pipeline import (
    DeletionConfig,
    EvaluateConfig,
    Params,
    RelearnConfig,
    RunnerConfig,
    ServersConfig,
    TrackingConfig,
    load,
)
from qunlearn.config.training import ModelConfig, QuantizationConfig, TrainingConfig

__all__ = [
    "ClassLabel",
    "ClassScenario",
    "ConfigError",
    "DataConfig",
    "DeletionConfig",
    "DigitsSource",
    "EvaluateConfig",
    "Fraction",
    "GatesConfig",
    "GroupScenario",
    "IdsScenario",
    "ImageFolderSource",
    "ModelConfig",
    "Params",
    "QuantizationConfig",
    "RandomScenario",
    "RelearnConfig",
    "RunnerConfig",
    "Scenario",
    "ServersConfig",
    "SplitConfig",
    "Strict",
    "SubclassScenario",
    "TorchvisionSource",
    "TrackingConfig",
    "TrainingConfig",
    "load",
    "validate",
]
