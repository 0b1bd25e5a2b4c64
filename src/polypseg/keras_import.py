"""What happens when Keras is imported beside polypseg, by whomever and in whatever order.

Keras is heavy, so `import polypseg` does not import it. A finder on `sys.meta_path` waits for its import instead, and

- before it, and before TensorFlow's: TensorFlow is told to use oneDNN's kernels, unless the user told it something
  (`use_onednn`);
- before it: where KERAS_BACKEND is unset and TensorFlow, Keras' default, is not installed, the backend becomes one
  that is (an explicit choice, in the environment or in Keras' own config file, is left alone);
- after it: polypseg's layers, losses and metrics are registered, so that `keras.models.load_model` needs no
  `custom_objects`.
"""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

BACKENDS = ("tensorflow", "jax", "torch")
"""In the order in which they are chosen."""


def watch() -> None:
    """Begin to wait for Keras; where it is there already, register at once."""
    if "keras" in sys.modules:
        register()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def register() -> None:
    """Register polypseg's classes, where Keras is imported and no module of polypseg waits for it half-imported."""
    if "keras" in sys.modules and "polypseg.train.keras_classes" not in sys.modules and not _is_half_imported():
        import_module("polypseg.train.keras_classes")


def choose_backend() -> None:
    """Set KERAS_BACKEND to an installed backend, where nobody chose one and Keras' default is missing."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if "KERAS_BACKEND" in os.environ or (home / "keras.json").is_file():
        return
    installed = [name for name in BACKENDS if find_spec(name) is not None]
    if installed and installed[0] != BACKENDS[0]:
        os.environ["KERAS_BACKEND"] = installed[0]


def use_onednn() -> None:
    """Set TF_ENABLE_ONEDNN_OPTS where nobody set it: TensorFlow itself does so on newer processors alone.

    With AVX2 alone a training step takes about half as long with these kernels (docs/explanation/performance.md).
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _is_half_imported() -> bool:
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("polypseg.")]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in modules)


class _KerasFinder(MetaPathFinder):
    """Finds Keras as all others do, and adds what this module is for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in ("keras", "tensorflow"):
            use_onednn()
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        choose_backend()
        spec = find_spec("keras")
        if spec is not None and spec.loader is not None:
            spec.loader = _KerasLoader(spec.loader)
        return spec


class _KerasLoader(Loader):
    """Keras' own loader, and then the registration."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # what looks for Keras' files and resources finds its own loader
        self._loader.exec_module(module)
        register()
