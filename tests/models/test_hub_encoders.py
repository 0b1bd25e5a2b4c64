"""Backbones of KerasHub: the contract of an encoder, and what is said where it or its weights are missing."""

import importlib.util
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from polypseg.errors import MissingExtraError, ModelError
from polypseg.models import hub_encoders
from polypseg.models.checkpoint import load_model, save_model
from polypseg.models.encoders import STRIDES, encode
from polypseg.models.hub_encoders import HUB_ENCODERS, HubEncoder, import_keras_hub

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason='KerasHub is not installed: pip install "polypseg[hub]"'
)


def encoder(name, size=64, weights=None):
    image = layers.Input((size, size, 3))
    return keras.Model(image, encode(name, image, weights))


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


class FakeBackbone(keras.Model):
    """What a backbone of KerasHub is to us: a model with its maps by name."""

    def __init__(self, image_shape, dtype, **_):
        image = layers.Input(image_shape)
        maps = {f"P{level}": layers.Conv2D(level, 1)(image) for level in range(1, 5)}
        super().__init__(image, maps["P4"])
        self.pyramid_outputs = maps


class FakeHub:
    """Stands in for the module `keras_hub`."""

    models = SimpleNamespace(MiTBackbone=FakeBackbone)


# Widths by hand: MiT-b0 has 32, 64, 160, 256 (SegFormer, tab. 6); of DINOv2-small's 384 the pyramid has a quarter, a
# half, the whole, the whole. The first is the image itself.
WIDTHS = {"mit-b0": [3, 32, 64, 160, 256], "dinov2-small": [3, 96, 192, 384, 384]}


@needs_hub
@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_maps_have_their_strides_and_widths_and_layers_their_name(name):
    model = encoder(name)
    maps = model.predict_on_batch(noise(2, 64, 64, 3))
    assert [m.shape for m in maps] == [(2, 64 // s, 64 // s, w) for s, w in zip(STRIDES, WIDTHS[name], strict=True)]
    assert all(np.isfinite(m).all() and m.std() > 0 for m in maps)
    assert all(layer.name.startswith("encoder") for layer in model.layers if layer.weights)


@needs_hub
def test_model_over_a_backbone_is_saved_and_loaded(tmp_path):
    from polypseg.models.attention_unet import attention_unet

    model = attention_unet((64, 64, 3), filters=2, encoder="mit-b0")
    save_model(model, tmp_path / "model.keras")
    images = noise(1, 64, 64, 3)
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict_on_batch(images), again.predict_on_batch(images))


@needs_hub
@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_weights_that_cannot_be_fetched_are_one_line(name, monkeypatch):
    constructor = getattr(import_keras_hub().models, HUB_ENCODERS[name].constructor)

    def refuse(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(constructor, "from_preset", refuse)
    with pytest.raises(ModelError, match=rf"of {name} cannot be fetched \(no network\); connect to a network") as error:
        encoder(name, weights="imagenet")
    assert "\n" not in str(error.value)


@needs_hub
def test_open_size_is_refused():
    with pytest.raises(ModelError, match="needs a fixed size"):
        encode("mit-b0", layers.Input((None, None, 3)))


def test_without_keras_hub_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)  # an import of it fails as if it were not there
    with pytest.raises(MissingExtraError, match=r'keras_hub is not installed.*pip install "polypseg\[hub\]"'):
        encoder("mit-b0")


def test_saved_model_over_a_backbone_needs_keras_hub_to_be_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_encoders, "import_keras_hub", lambda: FakeHub)
    image = layers.Input((4, 4, 3))
    model = keras.Model(image, HubEncoder("mit-b0", (4, 4, 3), name="encoder")(image))
    save_model(model, tmp_path / "model.keras")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ModelError, match=r"model\.keras: .*keras_hub is not installed.*polypseg\[hub\]"):
        load_model(tmp_path / "model.keras")


def test_file_for_weights_is_refused():
    with pytest.raises(ModelError, match=r"weights='own\.npz' cannot be read for mit-b0"):
        encoder("mit-b0", weights="own.npz")


def test_import_of_the_room_needs_no_hub():
    assert "keras_hub" not in vars(hub_encoders)
