"""polypseg: finds the pixels of polyps in colonoscopy images.

Each public name is imported from its module when it is first used, so that `import polypseg` is quick
and needs no training framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "load_config": "config",
    "Sample": "data.samples",
    "find_samples": "data.samples",
    "load_polyp_dataset": "data.samples",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"polypseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'polypseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from polypseg.config import Config as Config
    from polypseg.config import load_config as load_config
