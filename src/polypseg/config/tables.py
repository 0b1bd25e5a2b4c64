"""The tables of a config: every setting, its default, its bounds and what it does."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
        return self


class SourceConfig(_Table):
    """One of several folders of data that a training takes, by its name."""

    path: str | None = Field(None, description="the folder; unset: named on the command line (--data, --negatives)")
    split: Literal["auto", "official", "ratio", "train"] = Field(
        "auto",
        description="official: Kvasir-SEG's 880/120; ratio: seeded, groups and near-duplicates kept together; train: "
        "all of it trains; auto: official where the folder is Kvasir-SEG, else ratio",
    )
    validation: float | None = Field(None, ge=0, lt=1, description="share (ratio); unset: split.validation")
    test: float | None = Field(None, ge=0, lt=1, description="share (ratio); unset: split.test")
    weight: float = Field(
        1.0, gt=0, le=100, description="how often an epoch shows each of its training images, on average"
    )
    negatives: bool = Field(False, description="no frame of it shows a polyp, and there are no masks")


class DataConfig(_Table):
    """How samples become batches."""

    size: int = Field(256, ge=8, le=4096, description="side in pixels of the square that the model sees")
    field: Literal["auto", "whole"] = Field(
        "auto",
        description="auto: the model sees the endoscope's picture alone, without surround and panels; whole: all",
    )
    batch_size: int = Field(8, ge=1)
    augment: Literal["none", "flip", "standard", "strong"] = Field(
        "standard", description="preset, training split only"
    )
    polyp_removal: float = Field(
        0.0, ge=0, le=1, description="share of training images shown without their polyp, cut away or covered"
    )
    copy_paste: float = Field(0.0, ge=0, le=1, description="share of training images that get another image's polyp")
    jpeg: float = Field(0.0, ge=0, le=1, description="share of training images compressed again")
    colour_transfer: float = Field(
        0.0, ge=0, le=1, description="share of training images that take another image's colours"
    )
    elastic: float = Field(0.0, ge=0, le=1, description="share of training images that are bent, with their masks")
    close_ups: float = Field(
        0.0, ge=0, le=1, description="share of training images shown as an enlarged window around a part of the polyp"
    )
    sampling: Literal["all", "balanced"] = Field(
        "all",
        description="all: an epoch shows every training image once; balanced: as many images, but as many from each "
        "source; a source's weight multiplies its share",
    )
    cache: Literal["memory", "none"] | None = Field(
        None,
        description="memory: decoded and resized samples stay in memory; none: streamed from disk each epoch; "
        "unset: memory up to cache_limit_mib",
    )
    cache_limit_mib: int = Field(2048, ge=0, description="decoded size up to which an unset cache means memory")
    skip_bad: bool = Field(False, description="leave out samples that cannot be used, and list them")
    polyp_values: tuple[int, ...] = Field(
        (),
        description="grey values (or places in a palette) that mean polyp in the masks; empty: found by their pixels",
    )
    polyp_colours: tuple[str, ...] = Field(
        (), description="colours that mean polyp in the masks, as #rrggbb or a name; empty: found by their pixels"
    )
    polyp_labels: tuple[str, ...] = Field(
        (), description="labels that mean polyp in annotation files; empty: the label polyp alone; * for every label"
    )
    mask_channel: Literal["", "red", "green", "blue", "alpha"] = Field(
        "", description="channel of the mask files that holds the mask; empty: the file as it is seen"
    )
    empty_masks: bool = Field(False, description="accept data in which no mask contains a polyp")

    @model_validator(mode="after")
    def _shares_fit(self) -> "DataConfig":
        if self.polyp_removal + self.copy_paste + self.close_ups > 1:
            raise ValueError(
                f"data.polyp_removal {self.polyp_removal} + data.copy_paste {self.copy_paste} + data.close_ups "
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
    encoder_weights: str | None = Field(None, description="imagenet, or the path of a weight file; unset: random")
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

    name: Literal["bce_dice", "focal_tversky", "lovasz", "structure"] = Field(
        "bce_dice", description="bce_dice; the others are of runs of polypseg 0.1 and cannot be trained with any more"
    )
    dice_weight: float = Field(0.5, ge=0, description="1 for BCE + Dice")
    smooth: float = Field(1.0, gt=0, description="added to numerator and denominator of the overlap, in pixels")


class TrainConfig(_Table):
    """The loop around the model."""

    epochs: int = Field(50, ge=1, description="at most so many")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="adamw: Adam with decoupled weight decay")
    learning_rate: float = Field(1e-3, gt=0, description="the highest, where a schedule varies it")
    encoder_rate: float = Field(1.0, ge=0, description="adamw: the encoder's rate as a share of learning_rate")
    weight_decay: float = Field(0.0, ge=0, description="adamw: of kernels; biases and normalisation are left alone")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of all gradients together; unset: none")
    ema_momentum: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="momentum of the exponential moving average (EMA) of the weights, which is evaluated and saved "
        "instead of the last weights; 0: none",
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
    devices: int = Field(
        1,
        ge=0,
        description="GPUs (or other devices) that share each batch; 0: all that there are; more than 1 needs the JAX "
        "backend",
    )
    tensorboard: bool = Field(True, description="write logs for TensorBoard where it is installed")
    start_from: str | None = Field(
        None,
        description="whose weights the training begins with: a run, a .keras file, an exported .onnx file, or the name "
        "of a packaged model, all of the same network; unset: none",
    )
    freeze_normalisation: bool = Field(
        False,
        description="batch normalisation stays as in train.start_from: statistics, scale and offset; for short "
        "trainings on a few images",
    )
    teacher: str | None = Field(
        None,
        description="a run, a cross-validation's folder or a .keras file, whose probability of each augmented image "
        "is mixed with its mask; unset: none",
    )
    teacher_weight: float = Field(0.5, gt=0, le=1, description="share of the teacher in that mixture")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _settings_fit_each_other(self) -> "TrainConfig":
        if self.optimizer == "adam" and (self.encoder_rate != 1 or self.weight_decay):
            raise ValueError("train.encoder_rate and train.weight_decay belong to train.optimizer = adamw")
        if self.freeze_normalisation and self.start_from is None:
            raise ValueError("train.freeze_normalisation needs a train.start_from, whose normalisation is kept")
        return self


class Config(_Table):
    """All that decides a run, besides the data themselves."""

    split: SplitConfig = SplitConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    sources: dict[str, SourceConfig] = Field(
        default_factory=dict, description="several folders of data by name; empty: one folder"
    )

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
