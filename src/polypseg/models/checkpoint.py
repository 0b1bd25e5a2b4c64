"""Saving a Keras model in one step, and loading it in safe mode.

What polypseg adds to Keras (layers, losses, metrics) is registered, so that a file needs no `custom_objects`.
"""

import re
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from polypseg.errors import ModelError
from polypseg.models import blocks, hub_encoders  # noqa: F401  (register their layers)
from polypseg.records.atomic import replacing


def save_model(model: keras.Model, path: Path | str) -> None:
    """Write the model, its weights and its optimizer's state as a `.keras` file, in one step.

    A process killed at any moment leaves the old file or the new one, never half of one.
    """
    with replacing(Path(path)) as temporary:
        model.save(temporary)


def load_model(path: Path | str, compiled: bool = False) -> keras.Model:
    """The model of a `.keras` file, in Keras' safe mode (no code from the file is run), computing in float32.

    Args:
        path: A `.keras` file, as `checkpoints/best.keras` of a run.
        compiled: Whether to bring back loss, metrics, optimizer and the precision of the training as well
            (train.keras_classes.py knows them).

    Raises:
        ModelError: No such file, not a Keras file, or one that holds what polypseg does not know.
        MissingExtraError: It holds a backbone of KerasHub, which is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; expected a .keras file, as checkpoints/best.keras of a run")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a Keras model, or a damaged one; expected a .keras file (a zip archive)")
    try:
        model = _loaded(path, compiled)
        return model if compiled else in_single_precision(model)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: cannot be loaded as a Keras model: {_reason(error)}") from error


def _loaded(path: Path, compiled: bool) -> keras.Model:
    """What Keras makes of a file; it knows the ending in small letters alone."""
    if path.suffix == ".keras":
        return keras.saving.load_model(path, compile=compiled, safe_mode=True)
    with TemporaryDirectory() as folder:
        return keras.saving.load_model(shutil.copy(path, Path(folder, "model.keras")), compile=compiled, safe_mode=True)


def in_single_precision(model: keras.Model) -> keras.Model:
    """The model computing in float32, where it was trained in mixed precision: the same weights, full precision."""
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers(include_self=False)):
        return model

    def single(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):  # an encoder of keras.applications is one
            return keras.models.clone_model(layer, clone_function=single)
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    twin = keras.models.clone_model(model, clone_function=single)
    twin.set_weights(model.get_weights())
    return twin


def copy_weights(model: keras.Model, path: Path | str) -> None:
    """Gives a model the weights of a saved one of the same network, whatever their input sizes are.

    Args:
        model: What gets the weights, in place.
        path: A `.keras` file.

    Raises:
        ModelError: The file cannot be loaded, or holds another network.
    """
    source = load_model(path)
    found_gates, expected_gates = blocks.gates_of(source), blocks.gates_of(model)
    if found_gates and expected_gates and found_gates != expected_gates:
        raise ModelError(
            f"{path}: its gates are {found_gates}, those of the config's network {expected_gates}: set "
            f"model.gates={found_gates}"
        )
    weights = source.get_weights()
    expected = [tuple(weight.shape) for weight in model.weights]
    if [weight.shape for weight in weights] != expected:
        found = sum(weight.size for weight in weights)
        raise ModelError(
            f"{path}: another network, of {found:,} parameters in {len(weights)} weights; expected the one that the "
            f"config names, of {model.count_params():,} in {len(expected)}"
        )
    model.set_weights(weights)


def _reason(error: Exception) -> str:
    """What is wrong, in one line: Keras prints the layer's whole config around it."""
    text = str(error)
    unknown = re.search(r"Could not locate (class|function) '([^']+)'", text)
    if unknown:
        kind, name = unknown.groups()
        return (
            f"it holds the {kind} {name!r}, which neither Keras nor polypseg knows; "
            "import the module that registers it (@keras.saving.register_keras_serializable) first"
        )
    inner = text.rpartition("Exception encountered: ")[2].strip() or repr(error)
    return inner.splitlines()[0].partition(" Full object config")[0].rstrip(".")
