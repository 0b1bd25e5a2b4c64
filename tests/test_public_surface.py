"""The public names, and what is imported when."""

import subprocess
import sys

import polypseg

NAMES = {
    "Config",
    "Sample",
    "__version__",
    "attention_maps",
    "attention_unet",
    "augment",
    "find_samples",
    "get_tf_dataset",
    "load_config",
    "load_model",
    "load_polyp_dataset",
    "open_engine",
    "unet",
}

LIGHT = ("arrays", "config", "errors", "preprocess", "progress", "metrics.table", "predict.engines", "evaluate.score")


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


def test_scoring_and_predicting_rooms_import_no_training_framework():
    code = "\n".join(f"import polypseg.{name}" for name in LIGHT)
    assert modules_after(code) & {"keras", "tensorflow", "jax", "torch"} == set()


def test_version_is_the_one_of_the_distribution():
    from importlib.metadata import version

    assert polypseg.__version__ == version("polypseg")
