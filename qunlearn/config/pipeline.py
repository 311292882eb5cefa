"""The other blocks of ``params.yaml``, and all of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cronsim import CronSim, CronSimError
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from qunlearn.config.base import ConfigError, Seed, Strict
from qunlearn.config.data import DataConfig, SplitConfig
from qunlearn.config.explanations import validate
from qunlearn.config.gates import GatesConfig
from qunlearn.config.training import ModelConfig, QuantizationConfig, TrainingConfig


class RelearnConfig(Strict):
    """How `relearn_steps` is measured: plain SGD on the forget images."""

    limit: PositiveInt = 100
    """Optimizer steps after which the attempt ends."""
    learning_rate: PositiveFloat = 0.01
    batch_size: PositiveInt = 64


class EvaluateConfig(Strict):
    batch_size: PositiveInt = 1000
    """Images a forward pass; changes no result."""
    bootstrap: NonNegativeInt = 1000
    """Resamples of the intervals of the membership figures; 0 leaves the intervals out."""
    seed: Seed = 0
    """Seed of the bootstrap, of balancing and of relearning."""
    shadows: NonNegativeInt = 0
    """Shadow models of the likelihood ratio attack, each one more training on the retained images; 0 leaves it out."""
    relearn: RelearnConfig | None = None
    """Measure how many steps bring the forget images back; null leaves it out."""

    @field_validator("shadows")
    @classmethod
    def _enough_for_a_variance(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one shadow model gives no variance; give 2 or more, or 0 to leave the attack out")
        return value


class RunnerConfig(Strict):
    """Where the cells of a stage run. The result does not depend on `kind` and `workers`."""

    kind: Literal["threads", "processes", "dask"] = "threads"
    workers: PositiveInt = 1
    address: str | None = None
    """Address of a running Dask scheduler; null starts a local cluster."""
    torch_threads: PositiveInt | None = None
    """Threads of one cell; null leaves PyTorch's choice. The number changes the last bits of the weights."""


class TrackingConfig(Strict):
    uri: str = "sqlite:///mlflow.db"
    """MLflow tracking URI; the environment variable MLFLOW_TRACKING_URI wins."""
    experiment: str = Field(default="qunlearn", min_length=1)
    artifacts: Path = Path("mlartifacts")
    """Where checkpoint bytes go when the URI is a local database."""


Port = Annotated[int, Field(ge=1024, le=65535)]


class ServersConfig(Strict):
    """The servers of `qunlearn up`, on 127.0.0.1 only."""

    mlflow_port: Port = 5000
    prefect_port: Port = 4200
    start_timeout: PositiveFloat = 180.0
    """Seconds to wait until a server answers."""

    @model_validator(mode="after")
    def _distinct(self) -> ServersConfig:
        if self.mlflow_port == self.prefect_port:
            raise ValueError(f"mlflow_port and prefect_port must differ, both are {self.mlflow_port}")
        return self


class DeletionConfig(Strict):
    """The deletion flow that `qunlearn up` serves."""

    cron: str = "0 3 * * *"
    """When it runs, five cron fields, in UTC."""
    method: str = "oeu"
    """A row of `unlearn`, with its settings; or an unlearning method, with its defaults, where no row has the name.

    A deletion never searches: of a `grid` it knows nothing, and takes the method's defaults for the settings in it.
    """
    fallback: tuple[str, ...] = ()
    """Rows or methods that are tried, in this order, where a model does not pass its gates; retraining comes last."""
    max_sequential: int | None = Field(default=10, ge=0)
    """Unlearnings one after the other, each from the model of the one before, until the model is trained anew: their
    errors add up. 0 retrains each time; null never does."""
    models: Literal["purge", "quarantine"] = "purge"
    """What happens to other models that were trained on erased samples, such as those of the experiment: their bytes
    are removed, or moved to `.qunlearn/quarantine`, where they still are."""
    gates: GatesConfig = GatesConfig()
    """What a model must pass before it is released."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError(f"a cron expression has five fields, not {len(value.split())}")
        try:
            CronSim(value, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ValueError(f"{value!r} is not a cron expression of five fields: {error}") from None
        return value


class Params(Strict):
    """All of ``params.yaml``."""

    data: DataConfig
    split: SplitConfig
    seeds: list[Seed] = Field(min_length=1)
    """One original, one retrained and one unlearned model per row of `unlearn` for each seed."""
    model: ModelConfig = ModelConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    training: TrainingConfig = TrainingConfig()
    unlearn: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name of a row -> its settings; `null` or `{}` takes the method's defaults. Checked by the method's own config.

    Three further keys: `method`, the registered method, where the row has another name; so a method can have several
    rows. `grid`, setting -> list of values, is searched on the first of the seeds, without the retrained model; with
    `oracle: true` the search minimises the true gap to it instead, and the row is marked for that.
    """
    evaluate: EvaluateConfig = EvaluateConfig()
    runner: RunnerConfig = RunnerConfig()
    tracking: TrackingConfig = TrackingConfig()
    deletion: DeletionConfig = DeletionConfig()
    servers: ServersConfig = ServersConfig()

    @field_validator("seeds")
    @classmethod
    def _unique(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"each seed once, not {value}")
        return value

    @field_validator("unlearn", mode="before")
    @classmethod
    def _empty_blocks(cls, value: Any) -> Any:
        return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if self.split.scenario.kind == "subclass" and self.data.target != "coarse":
            raise ValueError(
                "split.scenario.kind: subclass forgets part of a superclass and needs data.target: coarse, "
                f"not {self.data.target}"
            )
        return self


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown key, a wrong value or a contradiction.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; run in the repository's root or name the file") from None
    except (yaml.YAMLError, ValueError) as error:
        # Bytes that are no text, and values that no Python object can hold: a month 13, an integer of 5000 digits.
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of blocks, found {type(content).__name__}")
    return validate(Params, content, where=str(path))
