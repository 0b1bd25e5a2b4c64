"""polypseg: finds the pixels of polyps in colonoscopy images.

Each public name is imported from its module when it is first used, so that `import polypseg` is quick
and needs no training framework.
"""

from importlib import import_module
from typing import Any

from polypseg.keras_import import register, watch

__version__ = "0.2.0"

_HOMES = {
    "attention_maps": "explain.attention",
    "attention_unet": "models.attention_unet",
    "augment": "data.augment",
    "export_model": "export.onnx",
    "get_tf_dataset": "data.batches",
    "load": "predict.predictor",
    "load_model": "models.checkpoint",
    "open_engine": "predict.engines.opening",
    "unet": "models.attention_unet",
    "Config": "config",
    "load_config": "config",
    "Sample": "data.samples",
    "find_samples": "data.catalogue",
    "load_polyp_dataset": "data.in_memory",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polypseg' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"polypseg.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from polypseg.errors import EXTRA_OF, missing_extra

        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        extra = "export" if name == "export_model" else EXTRA_OF[package]
        raise missing_extra(package, extra) from None
    register()  # where that module was what imported Keras
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


watch()
