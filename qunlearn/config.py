"""The one configuration: pydantic models of ``params.yaml``.

Every block forbids unknown keys. `load` turns each violation into one line that names the key, the value found and
what is allowed, and raises `ConfigError` with those lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from cronsim import CronSim, CronSimError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message has one line per problem."""


class Strict(BaseModel):
    """Base of every block: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, content: Any) -> Any:
        # Python counts true as 1, so that `epochs: yes` would mean one epoch.
        for name, value in content.items() if isinstance(content, dict) else ():
            annotation = cls.model_fields[name].annotation if name in cls.model_fields else Any
            wanted = annotation in (bool, Any) or any(a is bool or isinstance(a, bool) for a in get_args(annotation))
            if not wanted and any(isinstance(part, bool) for part in (value if isinstance(value, list) else [value])):
                raise ValueError(f"{name} = {value}: true and false (also yes, no, on, off) have no meaning here")
        return content


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every random generator in use accepts."""


def _index_or_name(value: Any) -> Any:
    if not isinstance(value, int | str):
        raise ValueError("a class is given by its index (a whole number) or its name (text)")
    return value


ClassLabel = Annotated[int | str, BeforeValidator(_index_or_name)]


# --- data ------------------------------------------------------------------------------------------------------------


class _Source(Strict):
    target: Literal["fine", "coarse"] = "fine"
    """Which labels are the task: the classes, or the superclasses."""
    subset: PositiveInt | None = None
    """Keep this many images, drawn class-balanced with `seed`; null keeps all. Test images are drawn in proportion."""
    seed: Seed = 0
    """Seed of `subset`."""


class DigitsSource(_Source):
    """scikit-learn's 1,797 real handwritten digits (8 x 8), shipped with that package: no download."""

    source: Literal["digits"] = "digits"


class TorchvisionSource(_Source):
    """An image set that torchvision reads."""

    source: Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"]
    root: Path = Path("data/raw")
    """Folder with torchvision's own layout."""
    download: bool = False
    """Fetch missing files from the set's publisher."""

    @model_validator(mode="after")
    def _coarse_labels_exist(self) -> TorchvisionSource:
        if self.target == "coarse" and self.source != "cifar100":
            raise ValueError(f"{self.source} has no superclasses; target: coarse is possible for digits and cifar100")
        return self


class ImageFolderSource(_Source):
    """The user's own images, one folder a class, all of one size."""

    source: Literal["image_folder"]
    root: Path
    """Folder that holds one folder of images per class."""
    metadata: Path | None = None
    """CSV with the column `file` (path below root) and any of `sample_id`, `subject`, `coarse`."""


DataConfig = Annotated[DigitsSource | TorchvisionSource | ImageFolderSource, Field(discriminator="source")]

# --- split -----------------------------------------------------------------------------------------------------------

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class RandomScenario(Strict):
    """Forget a random part of the training images."""

    kind: Literal["random"] = "random"
    fraction: Fraction | None = None
    """Share of the training images, above 0 and below 1."""
    count: PositiveInt | None = None
    """Number of training images."""

    @model_validator(mode="after")
    def _exactly_one(self) -> RandomScenario:
        if (self.fraction is None) == (self.count is None):
            raise ValueError(
                f"give exactly one of fraction and count, not fraction={self.fraction}, count={self.count}"
            )
        return self


class ClassScenario(Strict):
    """Forget all training images of whole classes of the task."""

    kind: Literal["class"]
    classes: list[ClassLabel] = Field(min_length=1)
    """Classes by index or name."""


class SubclassScenario(Strict):
    """Forget fine classes inside a superclass: the task must be `data.target: coarse`.

    The rest of the superclass is the *adjacent* retained data, all else *remote*.
    """

    kind: Literal["subclass"]
    classes: list[ClassLabel] = Field(min_length=1)
    """Fine classes by index or name."""


class GroupScenario(Strict):
    """Forget all training images of the given subjects."""

    kind: Literal["group"]
    subjects: list[NonNegativeInt] = Field(min_length=1)
    """Subjects, as the integers in `subjects.npy`."""


class IdsScenario(Strict):
    """Forget the training images that a file names, one id a line."""

    kind: Literal["ids"]
    file: Path


Scenario = Annotated[
    RandomScenario | ClassScenario | SubclassScenario | GroupScenario | IdsScenario, Field(discriminator="kind")
]


class SplitConfig(Strict):
    seed: Seed = 0
    """The split depends on this seed alone; `seeds` vary training."""
    validation: Fraction = 0.1
    """Share of the training images of each class that is set aside for choosing."""
    test: Fraction = 0.2
    """Share of the images of each class used for testing where the source has no official test part."""
    scenario: Scenario


# --- network ---------------------------------------------------------------------------------------------------------


class ModelConfig(Strict):
    name: str = "resnet8"
    """`resnet8`, `resnet20`, or any FX-traceable classifier of torchvision."""
    width: PositiveInt = 16
    """Channels of the first stage of the resnet8/resnet20 family; other networks have none."""


class QuantizationConfig(Strict):
    quantizer: Literal["lsq", "pact", "dsq", "brevitas", "none"] = "lsq"
    weight_bits: int = Field(default=4, ge=2, le=8)
    activation_bits: int = Field(default=4, ge=2, le=8)
    edge_bits: Literal[2, 3, 4, 5, 6, 7, 8, 32] = 8
    """Bits of weights and inputs of the first convolution and the last layer; 32 keeps them float."""
    per_channel: bool = False
    """One weight scale per output channel instead of one per tensor."""


# --- training --------------------------------------------------------------------------------------------------------


class TrainingConfig(Strict):
    """The recipe of the original model and of the retrained reference."""

    epochs: PositiveInt = 182
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    nesterov: bool = True
    weight_decay: NonNegativeFloat = 5e-4
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    warmup_epochs: NonNegativeFloat = 0.0
    """Linear warm-up of the cosine schedule, in epochs; one_cycle has its own."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    crop_padding: NonNegativeInt = 4
    """Random crops of the image padded by this many pixels; 0 turns them off."""
    flip: bool = True
    """Random horizontal flips."""
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _possible(self) -> TrainingConfig:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: true needs momentum above 0; set momentum, or nesterov: false")
        if self.schedule == "one_cycle" and self.warmup_epochs > 0:
            raise ValueError(f"one_cycle warms up by itself; set warmup_epochs: 0, not {self.warmup_epochs}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: {self.warmup_epochs} must be less than epochs: {self.epochs}")
        return self


# --- pipeline --------------------------------------------------------------------------------------------------------


class EvaluateConfig(Strict):
    batch_size: PositiveInt = 1000
    """Images a forward pass; changes no result."""
    bootstrap: NonNegativeInt = 1000
    """Resamples of the intervals of the membership figures; 0 leaves the intervals out."""
    seed: Seed = 0
    """Seed of the bootstrap and of balancing."""


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
    """Unlearning method, with the settings of its block under `unlearn`."""
    requests: Path = Path("data/requests")
    """Folder of request files: `*.txt`, one sample id a line."""

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
    """One original, one retrained and one unlearned model per method for each seed."""
    model: ModelConfig = ModelConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    training: TrainingConfig = TrainingConfig()
    unlearn: dict[str, dict[str, Any]] = Field(min_length=1)
    """Method name -> its settings; `null` or `{}` takes the method's defaults. Checked by the method's own config."""
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
        if "retrain" in self.unlearn:
            raise ValueError("unlearn.retrain: the retrained reference is a stage of its own; take it out of unlearn")
        if self.deletion.method not in {*self.unlearn, "retrain"}:
            raise ValueError(
                f"deletion.method: {self.deletion.method!r} has no block under unlearn; "
                f"there are {', '.join(self.unlearn)}, and retrain"
            )
        return self


# --- loading ---------------------------------------------------------------------------------------------------------


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of blocks, found {type(content).__name__}")
    return validate(Params, content, where=str(path))


def validate(model: type[M], content: Mapping[str, Any], *, where: str, prefix: str = "") -> M:
    """Build `model` from `content`; every problem becomes one line ``<where>: <key> = <value>: <what is allowed>``.

    Raises:
        ConfigError: with all problems found.
    """
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        lines = [f"{where}: {_explain(detail, model, prefix)}" for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def _explain(detail: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    # pydantic puts the tag of a discriminated union into the location; a person never wrote that key.
    location = [str(part) for part in detail["loc"]]
    key = ".".join(filter(None, [prefix, *_without_tags(location, model)]))
    if detail["type"] == "extra_forbidden":
        allowed = sorted(_keys_beside(location, model))
        return f"{key} = {_short(detail['input'])}: unknown key; allowed here: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{key}: missing; it must be given"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _explain_choice(detail, key, _options_at(location, model))
    if detail["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{key} = {_short(detail['input'])}: must be a block of settings, one `key: value` a line"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key} = {_short(detail['input'])}: {message}"


def _explain_choice(detail: ErrorDetails, key: str, options: Iterable[str]) -> str:
    """A block whose `kind` or `source` is wrong or missing."""
    chooser = str(detail["ctx"]["discriminator"]).strip("'")
    allowed = ", ".join(options)
    if chooser not in detail["input"]:
        return f"{key}.{chooser}: missing; it must be one of {allowed}"
    return f"{key}.{chooser} = {_short(detail['input'][chooser])}: must be one of {allowed}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _walk(location: list[str], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """Follow `location` through the models: the keys a person wrote, and the model that holds the last key."""
    keys: list[str] = []
    current: type[BaseModel] | None = model
    holder = current
    options: dict[str, type[BaseModel]] = {}
    for part in location:
        if options and part in options:
            current, options = options[part], {}
            continue
        keys.append(part)
        holder = current
        if current is None or part not in current.model_fields:
            current, options = None, {}
            continue
        current, options = _models_of(current.model_fields[part].annotation)
    return keys, holder


def _models_of(annotation: Any) -> tuple[type[BaseModel] | None, dict[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, {}
    options: dict[str, type[BaseModel]] = {}
    for member in getattr(annotation, "__args__", ()):
        if not (isinstance(member, type) and issubclass(member, BaseModel)):
            nested = _models_of(member)[1]
            options.update(nested)
            continue
        for name in ("kind", "source"):
            if name in member.model_fields:
                for tag in getattr(member.model_fields[name].annotation, "__args__", ()):
                    options[str(tag)] = member
    return None, options


def _options_at(location: list[str], model: type[BaseModel]) -> list[str]:
    """The tags of the discriminated union at `location`."""
    keys, holder = _walk(location, model)
    return list(_models_of(holder.model_fields[keys[-1]].annotation)[1]) if holder and keys else []


def _without_tags(location: list[str], model: type[BaseModel]) -> list[str]:
    return _walk(location, model)[0]


def _keys_beside(location: list[str], model: type[BaseModel]) -> set[str]:
    holder = _walk(location, model)[1]
    return {field.alias or name for name, field in holder.model_fields.items()} if holder else set()
