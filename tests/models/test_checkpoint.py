import subprocess
import sys
import zipfile

import keras
import pytest

from polypseg.errors import ModelError
from polypseg.models.attention_unet import attention_unet
from polypseg.models.checkpoint import copy_weights, load_model, save_model
from polypseg.train.coefficients import DiceCoefficient, IoUCoefficient
from polypseg.train.losses import BinaryCrossentropyDice


def test_compiled_model_loads_in_a_new_process_without_custom_objects(tmp_path):
    model = attention_unet((8, 8, 3), filters=2, depth=1)
    model.compile("adam", BinaryCrossentropyDice(0.7), metrics=[DiceCoefficient(), IoUCoefficient()])
    save_model(model, tmp_path / "model.keras")
    code = (
        "import sys, keras, polypseg\n"
        "model = keras.models.load_model(sys.argv[1])\n"  # Keras' own call: safe mode, no custom_objects
        "print(model.loss.dice_weight, polypseg.load_model(sys.argv[1], compiled=True).loss.dice_weight)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0.7", "0.7"]


def test_a_lambda_is_refused(tmp_path):
    image = keras.Input((4, 4, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(tmp_path / "evil.keras")
    with pytest.raises(ModelError, match=r"evil\.keras: cannot be loaded as a Keras model"):
        load_model(tmp_path / "evil.keras")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("weights")
    with pytest.raises(ModelError, match="not a Keras model, or a damaged one"):
        load_model(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(ModelError, match="cannot be loaded as a Keras model"):
        load_model(tmp_path / "other.keras")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = attention_unet((8, 8, 3), filters=2, depth=1)
    path = tmp_path / "model.keras"
    save_model(model, path)
    before = path.read_bytes()

    def full_disk(target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(model, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("saved", "network"), [("plain", "normalised"), ("normalised", "plain")])
def test_weights_of_other_gates_are_refused_with_what_to_set(saved, network, tmp_path):
    save_model(attention_unet((8, 8, 3), filters=2, depth=1, gates=saved), tmp_path / "model.keras")
    message = rf"its gates are {saved}, those of the config's network {network}: set model\.gates={saved}$"
    with pytest.raises(ModelError, match=message):
        copy_weights(attention_unet((8, 8, 3), filters=2, depth=1, gates=network), tmp_path / "model.keras")
    copy_weights(attention_unet((8, 8, 3), filters=2, depth=1, gates=saved), tmp_path / "model.keras")
