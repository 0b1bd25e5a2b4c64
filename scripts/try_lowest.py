"""Installs the lowest versions of the base dependencies that pyproject.toml allows, and runs the tests of prediction.

python scripts/try_lowest.py
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parents[1]
TESTS = (
    "tests/preprocess",
    "tests/predict/test_predictor.py",
    "tests/cli/test_predict.py",
)
# Tests of run folders need Keras, which is no base dependency.
TOOLS = (
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "sybil>=9",
    "scipy>=1.13",
    "matplotlib>=3.8.4",
)


def lowest(requirements: list[str]) -> list[str]:
    """Each `name>=version` as `name==version`."""
    return [requirement.split(";")[0].strip().replace(">=", "==") for requirement in requirements]


def main() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with tempfile.TemporaryDirectory() as name:
        python = Path(name) / "env" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *lowest(project["dependencies"]), *TOOLS], check=True)
        subprocess.run([*install, "--no-deps", "--editable", HERE], check=True)
        subprocess.run(
            [python, "-m", "pytest", "-q", "-W", "default", "-m", "not slow", "-k", "not run_folder", *TESTS],
            cwd=HERE,
            check=True,
        )


if __name__ == "__main__":
    main()
