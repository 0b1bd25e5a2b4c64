"""What every engine must do: the same model gives the same answer in each, to the tolerance that is stated here."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from export.models import small_attention_unet, small_polyp_lite
from polypseg.errors import ModelError, UsageError
from polypseg.export.onnx import export_model
from polypseg.machine import usable_cores
from polypseg.models.attention_unet import unet
from polypseg.models.checkpoint import save_model
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.predictor import PredictOptions, Predictor
from predict.tiny_model import write_foreign_model

TOLERANCE = 1e-4
"""Largest difference in a probability or a coefficient between any two engines, fp32."""

MODELS = {"attention_unet": small_attention_unet, "polyp_lite": small_polyp_lite}
EXPORTED = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def made():
    """The files of the models that were exported so far: pytest asks for a parameter more than once."""
    return {}


@pytest.fixture(scope="module", params=sorted(MODELS))
def files(request, made, tmp_path_factory):
    """A model as a `.keras` and as an `.onnx` file."""
    if request.param not in made:
        folder = tmp_path_factory.mktemp(request.param)
        save_model(MODELS[request.param](), folder / "model.keras")
        exported = export_model(folder / "model.keras", folder / "model.onnx").path
        made[request.param] = {"keras": folder / "model.keras", "onnx": exported}
    return made[request.param]


@pytest.fixture(scope="module", params=(*EXPORTED, "keras"))
def engine(request, files):
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return open_engine(files["keras" if request.param == "keras" else "onnx"], request.param)


@pytest.fixture(scope="module")
def reference(files):
    return open_engine(files["keras"])


def noise(count, size):
    return np.random.default_rng(4).random((count, size, size, 3), np.float32)


def test_probabilities_are_those_of_keras(engine, reference):
    batch = noise(3, engine.size)
    found = engine.run(batch)
    assert (found.shape, found.dtype) == ((3, engine.size, engine.size, 1), np.float32)
    assert found.max() - found.min() > 0.2  # a flat answer would agree too
    np.testing.assert_allclose(found, reference.run(batch), atol=TOLERANCE)


def test_attention_is_that_of_keras_and_probabilities_stay(engine, reference):
    batch = noise(2, engine.size)
    found, expected = engine.run_with_attention(batch), reference.run_with_attention(batch)
    assert set(found.attention) == set(expected.attention) == set(engine.facts.attention_levels)
    for level, values in found.attention.items():
        assert values.ndim == 3
        np.testing.assert_allclose(values, expected.attention[level], atol=TOLERANCE)
    np.testing.assert_allclose(found.probabilities, engine.run(batch), atol=1e-6)


def test_an_image_does_not_depend_on_its_batch(engine):
    batch = noise(5, engine.size)
    alone = np.concatenate([engine.run(image[None]) for image in batch])
    np.testing.assert_allclose(engine.run(batch), alone, atol=1e-5)


def test_an_answer_is_the_callers_own(engine):
    batch = noise(1, engine.size)
    first = engine.run(batch)
    kept = first.copy()
    engine.run(1 - batch)
    np.testing.assert_array_equal(first, kept)


def test_images_of_any_size_come_back_at_their_own(engine, reference):
    options = PredictOptions(attention=True)
    for shape in ((1, 1), (33, 57), (150, 91)):
        image = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
        found = Predictor(engine, options).predict(image)
        assert found.probability.shape == found.mask.shape == shape
        assert all(level.map.shape == shape for level in found.attention())
        np.testing.assert_allclose(found.probability, Predictor(reference).predict(image).probability, atol=TOLERANCE)


def test_facts_fit_the_model(engine, reference):
    assert (engine.facts.size, engine.threshold) == (engine.size, 0.5)
    assert engine.facts.num_parameters == reference.facts.num_parameters
    assert engine.facts.attention_levels == reference.facts.attention_levels


def peak_threads(path, name, threads):
    """The largest number of threads of a fresh process that runs the model."""
    code = (
        "import os, sys, numpy as np\nfrom pathlib import Path\n"
        "from polypseg.predict.engines.opening import open_engine\n"
        f"before = len(os.listdir('/proc/self/task'))\nengine = open_engine({str(path)!r}, {name!r}, {threads})\n"
        "for _ in range(3): engine.run(np.zeros((1, engine.size, engine.size, 3), np.float32))\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux lists them")  # noqa: PTH112
def test_threads_are_honoured_by_onnxruntime(files):
    # One thread is the caller's own; four are the caller's and three more
    one, four = (peak_threads(files["onnx"], "onnxruntime", threads) for threads in (1, 4))
    assert four - one == 3


def test_threads_are_honoured_by_openvino(files):
    pytest.importorskip("openvino")
    engine = open_engine(files["onnx"], "openvino", threads=1)
    # Pinned, several engines of one thread would all sit on the first core.
    assert engine._compiled.get_property("ENABLE_CPU_PINNING") is False
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert engine._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


@pytest.mark.parametrize("name", EXPORTED)
def test_streams_answer_threads_side_by_side_as_one_would(files, name):
    if name == "openvino":
        pytest.importorskip("openvino")
    engine = open_engine(files["onnx"], name, streams=2)
    batches = [np.random.default_rng(seed).random((1, engine.size, engine.size, 3), np.float32) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(engine.run, batches))
    alone = open_engine(files["onnx"], name)
    for batch, found in zip(batches, given, strict=True):
        np.testing.assert_allclose(found, alone.run(batch), atol=1e-5)
    if name == "openvino":
        assert engine._compiled.get_property("NUM_STREAMS") == min(2, usable_cores())
    else:
        assert engine._session.get_session_options().intra_op_num_threads == 1


def test_keras_says_that_it_takes_no_threads(files):
    with pytest.raises(UsageError, match="--threads is for exported models"):
        open_engine(files["keras"], "keras", threads=1)


@pytest.mark.parametrize("name", EXPORTED)
def test_damaged_and_foreign_files_are_one_line(files, name, tmp_path):
    if name == "openvino":
        pytest.importorskip("openvino")
    content = files["onnx"].read_bytes()
    middle = len(content) // 2
    faults = {
        "cut": (content[:middle], "cut short"),
        "flipped": (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "damaged or changed"),
        "empty": (b"", "the file is empty"),
        "text": (b"no model at all", "not an ONNX file"),
    }
    for what, (bad, message) in faults.items():
        path = tmp_path / f"{what}.onnx"
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=message) as error:
            open_engine(path, name)
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ModelError, match=r"lack polypseg\.size, polypseg\.normalisation"):
        open_engine(write_foreign_model(tmp_path / "foreign.onnx"), name)


def test_a_model_without_gates_has_no_attention(tmp_path):
    keras.utils.set_random_seed(0)
    save_model(unet((16, 16, 3), filters=2, depth=1), tmp_path / "unet.keras")
    exported = export_model(tmp_path / "unet.keras", tmp_path / "unet.onnx")
    for path in (exported.path, tmp_path / "unet.keras"):
        with pytest.raises(ModelError, match="no attention"):
            open_engine(path).run_with_attention(np.zeros((1, 16, 16, 3), np.float32))


FRESH = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('keras', 'tensorflow', 'jax', 'torch'):
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hide())
sys.argv = ['polypseg', {words}]
from polypseg.__main__ import main
main()
"""


def test_exported_models_are_scored_where_no_training_framework_is_installed(files, tmp_path):
    from export.models import red_data

    data = red_data(tmp_path / "data")
    words = ["evaluate", str(files["onnx"]), "--data", str(data), "--out", str(tmp_path / "scores")]
    code = FRESH.format(words=", ".join(map(repr, words)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores" / "summary.json").is_file()
    assert "threshold 0.5 (default)" in done.stdout


def test_exported_models_predict_where_no_training_framework_is_installed(files):
    code = FRESH.partition("sys.argv")[0].replace("{{", "{").replace("}}", "}") + (
        "import numpy as np, polypseg\n"
        f"found = polypseg.load({str(files['onnx'])!r}).predict(np.zeros((40, 30, 3), np.uint8))\n"
        "print(found.mask.shape, *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(40, 30)")
    assert not {"keras", "tensorflow", "onnx", "jax", "torch"} & set(done.stdout.split())
