"""The public names, and what is imported when."""

import importlib.util
import os
import platform
import subprocess
import sys

import pytest

import polypseg
from polypseg.errors import EXTRA_OF, MissingExtraError

NAMES = {
    "Config",
    "Sample",
    "__version__",
    "attention_maps",
    "attention_unet",
    "augment",
    "export_model",
    "find_samples",
    "get_tf_dataset",
    "load",
    "load_config",
    "load_model",
    "load_polyp_dataset",
    "open_engine",
    "unet",
}

LIGHT = (
    "arrays",
    "config",
    "errors",
    "preprocess",
    "progress",
    "metrics.table",
    "predict.predictor",
    "evaluate.score",
    "annotate.anonymise",
)


def modules_after(code):
    """The names of the modules that a fresh interpreter holds after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_public_names_are_exactly_these_and_all_are_there():
    assert set(polypseg.__all__) == NAMES
    assert all(hasattr(polypseg, name) for name in NAMES)


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(polypseg, "segment_everything")


def test_import_and_help_load_nothing_heavy():
    code = (
        "import sys, contextlib, io, polypseg.__main__ as m\nsys.argv = ['polypseg', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    m.main()"
    )
    heavy = {"numpy", "scipy", "cv2", "PIL", "matplotlib", "pydantic", "keras", "tensorflow", "jinja2"}
    assert modules_after(code) & heavy == set()


@pytest.mark.slow
def test_scoring_and_predicting_rooms_import_no_training_framework():
    code = "\n".join(f"import polypseg.{name}" for name in LIGHT)
    assert modules_after(code) & {"keras", "tensorflow", "jax", "torch"} == set()


def test_version_is_the_one_of_the_distribution():
    from importlib.metadata import version

    assert polypseg.__version__ == version("polypseg")


LOAD = "import keras; keras.models.load_model({path!r})"


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "import polypseg",
        "import keras, polypseg",
        "import polypseg, keras",
        "from polypseg import get_tf_dataset",
        "import polypseg; polypseg.augment",
        "import polypseg.data.samples",
    ],
)
def test_keras_loads_a_model_without_custom_objects_in_any_order_of_imports(before, tmp_path):
    from polypseg import attention_unet
    from polypseg.train.losses import BinaryCrossentropyDice

    model = attention_unet((8, 8, 3), filters=2, depth=1)
    model.compile("adam", BinaryCrossentropyDice())
    model.save(tmp_path / "model.keras")
    assert "polypseg.train.keras_classes" in modules_after(
        f"{before}\n{LOAD.format(path=str(tmp_path / 'model.keras'))}"
    )


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {hidden!r}:
            raise ModuleNotFoundError(name)
import importlib.util as u
find = u.find_spec
u.find_spec = lambda name, package=None: None if name in {hidden!r} else find(name, package)
sys.meta_path.insert(0, Hide())
import os, polypseg.keras_import as k
k.find_spec = u.find_spec
k.choose_backend()
print(os.environ.get('KERAS_BACKEND'))
"""


@pytest.mark.parametrize(
    ("hidden", "environment", "expected"),
    [
        ([], {}, "None"),  # TensorFlow is Keras' own default
        (["tensorflow", "jax", "torch"], {}, "None"),  # nothing to choose from: Keras says so
        (["tensorflow"], {"KERAS_BACKEND": "tensorflow"}, "tensorflow"),  # an explicit choice stays
    ],
)
def test_backend_is_one_that_is_installed(hidden, environment, expected, tmp_path):
    assert chosen_backend(hidden, environment, tmp_path) == expected


def test_backend_without_tensorflow_is_the_next_one(tmp_path):
    installed = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
    if not installed:
        pytest.skip("neither JAX nor PyTorch is installed (make backends)")
    assert chosen_backend(["tensorflow"], {}, tmp_path) == installed[0]
    (tmp_path / "keras.json").write_text("{}")  # a choice of the user's, left alone
    assert chosen_backend(["tensorflow"], {}, tmp_path) == "None"


ONEDNN = """
import os
import polypseg, importlib.util
before = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
importlib.util.find_spec({package!r})
print(before, os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="oneDNN is asked for on x86 alone")
@pytest.mark.parametrize(
    ("package", "given", "expected"),
    [("tensorflow", None, "None 1"), ("keras", None, "None 1"), ("keras", "0", "0 0"), ("json", None, "None None")],
)
def test_tensorflow_is_told_to_use_onednn_when_it_is_imported_unless_told_otherwise(package, given, expected):
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    code = ONEDNN.format(package=package)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def chosen_backend(hidden, environment, home):
    inherited = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=hidden)],
        env={**inherited, "KERAS_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


BASE_INSTALLATION = """
import sys
import polypseg
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util as u
find = u.find_spec
u.find_spec = lambda name, package=None: None if name in {refused!r} else find(name, package)
sys.meta_path.insert(0, Refuse())
{code}
"""
COMMAND = "sys.argv = ['polypseg', *{words!r}]\nfrom polypseg.__main__ import main\nmain()"


def in_base_installation(code):
    """The exit code and the last line of standard error where no package of an extra is installed."""
    code = BASE_INSTALLATION.format(refused=sorted(EXTRA_OF), code=code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "extra"),
    [("attention_unet", "train"), ("export_model", "export")],
)
def test_a_public_name_of_an_extra_says_how_to_install_it(name, extra):
    _, line = in_base_installation(f"from polypseg import {name}")
    assert line.startswith("polypseg.errors.MissingExtraError: ")
    assert line.endswith(f'install it with: pip install "polypseg[{extra}]"')


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["export", "runs/none", "-o", "a.onnx"], "export"),
        (["export", "polyp-lite", "-o", "a.onnx"], "export"),
        (["train", "--data", "none"], "train"),
        (["compare", "a", "b"], "evaluate"),
        (["serve"], "serve"),
    ],
)
def test_a_command_of_an_extra_says_how_to_install_it_and_ends_with_1(words, extra):
    code, line = in_base_installation(COMMAND.format(words=words))
    assert code == 1
    assert line.endswith(f'install it with: pip install "polypseg[{extra}]"'), line


def test_a_missing_extra_is_an_import_error_too():
    assert issubclass(MissingExtraError, ImportError)
