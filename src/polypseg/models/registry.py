"""The networks by the names that a config uses, and the presets by the names that users know."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import keras

from polypseg.config import ModelConfig
from polypseg.errors import ModelError, unknown_name
from polypseg.models.attention_unet import attention_unet, unet

MODELS: Mapping[str, Callable[..., keras.Model]] = MappingProxyType({"attention_unet": attention_unet, "unet": unet})

PRESETS: Mapping[str, ModelConfig] = MappingProxyType(
    {
        "attention-unet-16": ModelConfig(name="attention_unet", filters=16),
        "attention-unet-32": ModelConfig(name="attention_unet", filters=32),
        "polyp-lite": ModelConfig(
            name="attention_unet", filters=32, encoder="efficientnet-lite0", encoder_weights="imagenet"
        ),
        "polyp-strong": ModelConfig(name="attention_unet", filters=64, encoder="efficientnet-lite2"),
        "unet-16": ModelConfig(name="unet", filters=16),
        "unet-32": ModelConfig(name="unet", filters=32),
    }
)


def build_model(config: ModelConfig, size: int | None) -> keras.Model:
    """A new model, its weights drawn at random; without what deep supervision adds for the time of a training.

    Args:
        config: Which network.
        size: Side of the square input in pixels; None for any height and width that fit the depth.

    Raises:
        ModelError: The config fits no network, or its pretrained weights cannot be had.
    """
    settings = config.model_dump(exclude={"name", "deep_supervision"})
    if config.name != "attention_unet":
        settings = {key: settings[key] for key in ("filters", "depth", "dropout")}
    return MODELS[config.name](input_shape=(size, size, 3), **settings)


def preset(name: str) -> ModelConfig:
    """The model config of a preset.

    Raises:
        ModelError: An unknown name; the message lists the choices.
    """
    if name not in PRESETS:
        raise ModelError(unknown_name("model preset", name, PRESETS))
    return PRESETS[name]
