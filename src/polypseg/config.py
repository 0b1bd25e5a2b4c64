"""Frozen configs: the only place where a default of training is written.

A config file is a diff from these defaults (TOML, one table a class), and so is `--set key=value`:

    [model]
    filters = 32
    [train]
    epochs = 10
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polypseg.errors import ConfigError, unknown_name


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitConfig(_Table):
    """Which sample is trained on, which chooses the checkpoint, which is tested on."""

    kind: Literal["auto", "official", "ratio"] = Field(
        "auto",
        description="official: Kvasir-SEG's 880/120; ratio: seeded, groups and near-duplicates kept together; "
        "auto: official where the folder is Kvasir-SEG, else ratio",
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of all samples (kind ratio)")
    test: float = Field(0.1, ge=0, lt=1, description="share of all samples (kind ratio)")
    official_validation: int = Field(80, gt=0, lt=880, description="images carved out of the 880 (kind official)")
    near_duplicate_bits: int = Field(
        4,
        ge=-1,
        le=32,
        description="near-duplicates stay on one side: pairs whose 64-bit perceptual hashes are this close are looked "
        "at besides those that correlate; -1 switches the search off",
    )
    looks: int = Field(
        0,
        ge=0,
        description="sort the frames by colour, light and sharpness into so many kinds, of which each stays on one "
        "side; 0: no",
    )
    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="cross-validation: so many runs, each with its own share of all but the test split as validation; "
        "0: one run",
    )
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _some_is_left(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} + test {self.test} leave nothing to train on")
        if self.folds == 1:
            raise ValueError("split.folds 1: expected 0 (no cross-validation) or at least 2")
        if self.looks == 1:
            raise ValueError("split.looks 1: expected 0 (frames of one look may be parted) or at least 2")
        return self


class DataConfig(_Table):
    """How samples become batches."""

    size: int = Field(256, ge=8, le=4096, description="side in pixels of the square that the model sees")
    batch_size: int = Field(8, ge=1)
    augment: Literal["none", "flip", "standard", "strong"] = Field(
        "standard", description="preset, training split only"
    )
    negatives: float = Field(
        0.0, ge=0, le=1, description="share of training images shown without their polyp, cut away or covered"
    )
    copy_paste: float = Field(0.0, ge=0, le=1, description="share of training images that get another image's polyp")
    jpeg: float = Field(0.0, ge=0, le=1, description="share of training images compressed anew")
    colour_transfer: float = Field(
        0.0, ge=0, le=1, description="share of training images that take another image's colours"
    )
    elastic: float = Field(0.0, ge=0, le=1, description="share of training images that are bent, with their masks")
    close_ups: float = Field(
        0.0, ge=0, le=1, description="share of training images shown as an enlarged window around a part of the polyp"
    )
    mix_up: float = Field(
        0.0, ge=0, le=1, description="share of training images that another one shines through, with its mask"
    )
    cache: Literal["memory", "none"] | None = Field(
        None,
        description="memory: decoded and resized samples stay in memory; none: streamed from disk each epoch; "
        "unset: memory up to cache_limit_mib",
    )
    cache_limit_mib: int = Field(2048, ge=0, description="decoded size up to which an unset cache means memory")
    skip_bad: bool = Field(False, description="leave out samples that cannot be used, and list them")

    @model_validator(mode="after")
    def _shares_fit(self) -> "DataConfig":
        if self.negatives + self.copy_paste + self.close_ups > 1:
            raise ValueError(
                f"data.negatives {self.negatives} + data.copy_paste {self.copy_paste} + data.close_ups "
                f"{self.close_ups} are more than 1"
            )
        return self


class ModelConfig(_Table):
    """Which network."""

    name: Literal["attention_unet", "unet"] = "attention_unet"
    filters: int = Field(
        16,
        ge=1,
        description="filters of the first level; each level below has twice as many (with an encoder the decoder has "
        "1, 2, 3 and 5 times as many)",
    )
    depth: int = Field(4, ge=1, le=7, description="number of max-pools; the size must be divisible by 2**depth")
    dropout: float = Field(0.0, ge=0, lt=1, description="rate after the bottleneck")
    encoder: str | None = Field(None, description="pretrained encoder (efficientnet-lite0, resnet50, …); unset: none")
    encoder_weights: str | None = Field(None, description="imagenet, or the path of a converted file; unset: random")
    decoder_filters: tuple[int, ...] = Field((), description="the decoder's four widths over an encoder, finest first")
    gates: Literal["plain", "normalised"] = Field(
        "normalised",
        description="attention_unet; normalised: batch normalisation in each gate, so that it can neither shut "
        "nor stay open everywhere; plain: as in the paper, and in models made before this setting existed",
    )
    deep_supervision: bool = Field(
        False,
        description="in training every level of the decoder is judged, and loss and val_loss are of all levels; the "
        "saved model is the same as without",
    )

    @model_validator(mode="after")
    def _encoder_settings_have_an_encoder(self) -> "ModelConfig":
        if self.encoder is None and (self.encoder_weights is not None or self.decoder_filters):
            raise ValueError("model.encoder_weights and model.decoder_filters need a model.encoder")
        if self.encoder is not None and (self.name != "attention_unet" or self.depth != 4):
            raise ValueError("model.encoder belongs to the attention_unet of depth 4")
        if self.deep_supervision and self.depth < 2:
            raise ValueError(f"model.deep_supervision needs a model.depth of at least 2 (found {self.depth})")
        return self


class LossConfig(_Table):
    """Which loss; `bce_dice` is binary cross-entropy + dice_weight x (1 - Dice)."""

    name: Literal["bce_dice", "focal_tversky", "lovasz", "structure"] = "bce_dice"
    dice_weight: float = Field(0.5, ge=0, description="bce_dice; 1 for BCE + Dice")
    smooth: float = Field(
        1.0, gt=0, description="bce_dice, focal_tversky: added to numerator and denominator of the overlap, in pixels"
    )
    false_negative_weight: float = Field(0.7, ge=0, le=1, description="focal_tversky; a false pixel weighs the rest")
    gamma: float = Field(0.75, gt=0, description="focal_tversky: power of one minus the overlap")
    boundary_weight: float = Field(5.0, ge=0, description="structure: how much more the polyp's boundary weighs")
    window: int = Field(31, ge=1, description="structure: odd side in pixels of the square that tells the boundary")

    @model_validator(mode="after")
    def _window_has_a_centre(self) -> "LossConfig":
        if self.window % 2 == 0:
            raise ValueError(f"loss.window {self.window}: expected an odd number; take {self.window + 1}")
        return self


class TrainConfig(_Table):
    """The loop around the model."""

    epochs: int = Field(50, ge=1, description="at most so many")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="adamw: Adam with decoupled weight decay")
    learning_rate: float = Field(1e-3, gt=0, description="the highest, where a schedule varies it")
    encoder_rate: float = Field(1.0, ge=0, description="adamw: the encoder's rate as a share of learning_rate")
    weight_decay: float = Field(0.0, ge=0, description="adamw: of kernels; biases and normalisation are left alone")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of all gradients together; unset: none")
    average: float = Field(
        0.0, ge=0, lt=1, description="momentum of the moving average of the weights, which is judged and kept; 0: none"
    )
    schedule: Literal["plateau", "cosine", "one_cycle"] = Field(
        "plateau",
        description="plateau: lower after plateau_patience; cosine: down to 0 at the last epoch; one_cycle: the same "
        "after a linear warm-up",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="one_cycle: share of the steps in which the rate rises")
    monitor: Literal["val_loss", "val_dice"] = Field("val_loss", description="what chooses the checkpoint")
    early_stopping_patience: int = Field(12, ge=1, description="epochs without a better monitored value")
    plateau_patience: int = Field(5, ge=1, description="epochs without a lower validation loss before a lower rate")
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    min_learning_rate: float = Field(1e-6, ge=0)
    mixed_precision: bool = Field(False, description="bfloat16 on CPU and TPU, float16 on GPU")
    deterministic: bool = Field(False, description="the same numbers each time on one machine, a little slower")
    tensorboard: bool = Field(True, description="write logs for TensorBoard where it is installed")
    start_from: str | None = Field(
        None,
        description="whose weights the training begins with: a run, a .keras file, an exported .onnx file, or the name "
        "of a packaged model, all of the same network; unset: none",
    )
    teacher: str | None = Field(
        None,
        description="a run, a cross-validation's folder or a .keras file, whose probability of each augmented image "
        "is mixed with its mask; unset: none",
    )
    teacher_weight: float = Field(0.5, gt=0, le=1, description="share of the teacher in that mixture")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _settings_belong_to_the_optimizer(self) -> "TrainConfig":
        if self.optimizer == "adam" and (self.encoder_rate != 1 or self.weight_decay):
            raise ValueError("train.encoder_rate and train.weight_decay belong to train.optimizer = adamw")
        return self


class Config(_Table):
    """All that decides a run, besides the data themselves."""

    split: SplitConfig = SplitConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _loss_takes_probabilities(self) -> "Config":
        if self.train.teacher is not None and self.loss.name == "lovasz":
            raise ValueError("train.teacher gives probabilities, and loss.name lovasz takes masks; take another loss")
        return self

    @model_validator(mode="after")
    def _size_fits_depth(self) -> "Config":
        multiple = 2**self.model.depth if self.model.encoder is None else 32
        if self.data.size % multiple:
            lower = max(multiple, self.data.size // multiple * multiple)
            reason = "2**model.depth" if self.model.encoder is None else "the encoder's coarsest stride"
            raise ValueError(
                f"data.size {self.data.size} is not divisible by {reason} = {multiple}; "
                f"take {lower} or {self.data.size // multiple * multiple + multiple}"
            )
        return self


BEFORE: Mapping[str, Mapping[str, Any]] = MappingProxyType({"model": MappingProxyType({"gates": "plain"})})
"""How runs were trained before a setting existed, where its default is another: table, key, value."""


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """The defaults, changed by a TOML file, changed by `table.key=value` overrides.

    Args:
        path: TOML file, or None for the defaults.
        overrides: As `--set` takes them; a value is read as TOML, and as a string where that fails.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value does not fit.

    >>> load_config(overrides=["model.filters=32", "train.epochs=3"]).model.filters
    32
    """
    tables: dict[str, Any] = {}
    overrides = list(overrides)
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a TOML file: {error}") from error
    for override in overrides:
        _override(tables, override)
    if path is None or not overrides:
        return config_from(tables, source=str(path) if path else "--set")
    try:
        return config_from(tables, source=str(path))
    except ConfigError:
        load_config(path)  # where the file alone is at fault, say so; else the overrides are
        return config_from(tables, source=f"{path} with --set")


def load_recorded_config(path: Path) -> Config:
    """The config of a run, as `load_config`; a setting that the run was recorded before has the value it then had.

    Raises:
        ConfigError: As for `load_config`.
    """
    config = load_config(path)
    earlier = {}
    for name, values in BEFORE.items():
        table = getattr(config, name)
        missing = {key: value for key, value in values.items() if key not in table.model_fields_set}
        earlier[name] = table.model_copy(update=missing)
    return config.model_copy(update=earlier)


def config_from(tables: Mapping[str, Any], source: str = "config") -> Config:
    """The config of nested tables (as TOML or JSON give them).

    Raises:
        ConfigError: A key is unknown, or a value does not fit.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from error


def with_absolute_paths(config: Config) -> Config:
    """The config whose paths are absolute, so that a resume finds them from wherever it is called."""
    named = {key: getattr(config.train, key) for key in ("start_from", "teacher")}
    absolute = {key: str(Path(path).resolve()) for key, path in named.items() if path is not None}
    return config.model_copy(update={"train": config.train.model_copy(update=absolute)})


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or len(parts) != 2 or not all(parts):
        raise ConfigError(f"--set {override!r}: expected table.key=value, for example train.epochs=10")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = tables.setdefault(parts[0], {})
    if not isinstance(table, dict):
        raise ConfigError(f"{parts[0]}: expected a table, found {table!r}")
    table[parts[1]] = value


def _explain(error: ValidationError) -> str:
    """The first fault of a config in one line."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        table, _, key = where.rpartition(".")
        choices = list(Config.model_fields)
        if table in Config.model_fields:
            annotation = Config.model_fields[table].annotation
            choices = list(annotation.model_fields) if isinstance(annotation, type) else choices  # type: ignore[attr-defined]
        return unknown_name(f"key in [{table}]" if table else "table", key, choices)
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where + ': ' if where else ''}{message}" + (f" (found {fault['input']!r})" if where else "")
