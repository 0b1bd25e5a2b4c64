"""Seconds a training step and peak memory of the Attention U-Net beside its peers, measured in turn.

    python benchmarks/training_step.py --peer-python peers/bin/python --filters 16 32

Every contestant lives in a process of its own, so that its peak memory is its own, and waits while another one
works. A round is one step of each, A B C A B C, so that whatever else the machine does hits all alike. The
figure to trust is the ratio: the median over the rounds of (peer's step / our step in the same round).

All take the same batch (random numbers), Adam at 1e-3, and BCE + 0.5 x (1 - Dice), Dice per image with smooth 1.
Keras models run as `polypseg train` runs them, through `compile` and `train_on_batch`.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OURS = "polypseg"


class Contestant(NamedTuple):
    """One row of the table.

    Attributes:
        title: As the table shows it.
        build: From the number of first filters and the batch to a function that trains one step, and the number
            of parameters.
        is_peer: Whether it runs in the peers' environment.
        as_installed: Whether a user gets it without changing a default that has nothing to do with the network.
    """

    title: str
    build: Callable[[int, np.ndarray, np.ndarray], tuple[Callable[[], float], int]]
    is_peer: bool
    as_installed: bool = True


def _loss(reference: Any, predicted: Any) -> Any:
    """BCE + 0.5 x (1 - Dice), written as `polypseg.train.losses` does, for peers that cannot import it."""
    from keras import ops

    clipped = ops.clip(predicted, 1e-7, 1.0 - 1e-7)
    entropy = -ops.mean(reference * ops.log(clipped) + (1.0 - reference) * ops.log(1.0 - clipped), axis=(1, 2, 3))
    overlap = ops.sum(reference * predicted, axis=(1, 2, 3))
    areas = ops.sum(reference, axis=(1, 2, 3)) + ops.sum(predicted, axis=(1, 2, 3))
    return entropy + 0.5 * (1.0 - (2.0 * overlap + 1.0) / (areas + 1.0))


def _keras_step(model: Any, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    import keras

    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=_loss)
    return lambda: float(model.train_on_batch(images, masks)), model.count_params()


def polypseg(filters: int, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    from polypseg.models.attention_unet import attention_unet

    return _keras_step(attention_unet(images.shape[1:], filters), images, masks)


def polypseg_with_plain_layers(filters: int, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    from keras import layers, models

    from polypseg.models.attention_unet import attention_unet
    from polypseg.models.blocks import PLAIN_LAYERS

    def plain(layer: Any) -> Any:
        return PLAIN_LAYERS.get(type(layer), type(layer)).from_config(layer.get_config())

    model = models.clone_model(attention_unet(images.shape[1:], filters), clone_function=plain)
    own = [layer.name for layer in model.layers if not type(layer).__module__.startswith(layers.__name__.split(".")[0])]
    if own:
        raise SystemExit(f"not plain Keras: {own}")
    return _keras_step(model, images, masks)


def keras_unet_collection(filters: int, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    return _keras_unet_collection(filters, images, masks, unpool=False)


def keras_unet_collection_bilinear(
    filters: int, images: np.ndarray, masks: np.ndarray
) -> tuple[Callable[[], float], int]:
    return _keras_unet_collection(filters, images, masks, unpool=True)


def _keras_unet_collection(
    filters: int, images: np.ndarray, masks: np.ndarray, unpool: bool
) -> tuple[Callable[[], float], int]:
    from keras_unet_collection import models

    widths = [filters * 2**level for level in range(5)]
    model = models.att_unet_2d(images.shape[1:], widths, 1, batch_norm=True, unpool=unpool, output_activation="Sigmoid")
    return _keras_step(model, images, masks)


def monai(filters: int, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    return _monai(filters, images, masks, channels_last=False)


def monai_channels_last(filters: int, images: np.ndarray, masks: np.ndarray) -> tuple[Callable[[], float], int]:
    return _monai(filters, images, masks, channels_last=True)


def _monai(filters: int, images: np.ndarray, masks: np.ndarray, channels_last: bool) -> tuple[Callable[[], float], int]:
    import torch
    from monai.networks.nets import AttentionUnet

    widths = [filters * 2**level for level in range(5)]
    network = AttentionUnet(spatial_dims=2, in_channels=3, out_channels=1, channels=widths, strides=[2, 2, 2, 2])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    image = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)
    mask = torch.from_numpy(masks.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = network(image)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask)
        predicted = torch.sigmoid(logits)
        overlap = (predicted * mask).sum(dim=(1, 2, 3))
        areas = predicted.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
        loss = entropy + 0.5 * (1.0 - (2.0 * overlap + 1.0) / (areas + 1.0)).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step, sum(parameter.numel() for parameter in network.parameters())


CONTESTANTS = {
    OURS: Contestant("polypseg", polypseg, False),
    "plain": Contestant("polypseg's network of plain Keras layers", polypseg_with_plain_layers, False, False),
    "kuc": Contestant("keras-unet-collection, transposed convolutions", keras_unet_collection, True),
    "kuc-bilinear": Contestant("keras-unet-collection, defaults (bilinear)", keras_unet_collection_bilinear, True),
    "monai": Contestant("MONAI AttentionUnet", monai, True),
    "monai-cl": Contestant("MONAI AttentionUnet, channels_last", monai_channels_last, True, False),
}


def serve(name: str, filters: int, batch: int, size: int, warm_up: int) -> None:
    """Build one contestant, then train a step for each line on the standard input and answer with its figures."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    random = np.random.default_rng(0)
    images = random.random((batch, size, size, 3), dtype=np.float32)
    masks = (random.random((batch, size, size, 1)) < 0.15).astype(np.float32)
    step, parameters = CONTESTANTS[name].build(filters, images, masks)
    losses = [step() for _ in range(warm_up)]
    print(json.dumps({"parameters": parameters, "versions": _versions(), "loss": losses[0]}), file=answers, flush=True)
    for _ in sys.stdin:
        began, cpu_began = time.perf_counter(), time.process_time()
        losses.append(step())
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux, to GiB
        figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gib": peak, "loss": losses[-1]}
        print(json.dumps(figures), file=answers, flush=True)


def _versions() -> str:
    loaded = ["keras", "tensorflow", "torch", "monai"]
    return ", ".join(f"{name} {sys.modules[name].__version__}" for name in loaded if name in sys.modules)


class Process:
    """A contestant at work in a process of its own."""

    def __init__(self, name: str, python: str, options: argparse.Namespace, filters: int) -> None:
        self.name = name
        command = [python, str(Path(__file__).resolve()), "--serve", name, "--filters", str(filters)]
        command += ["--batch", str(options.batch), "--size", str(options.size), "--warm-up", str(options.warm_up)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        log = None if options.verbose else subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        self.facts = self._answer()
        self.steps: list[dict[str, float]] = []

    def step(self) -> None:
        """Train one step and keep its figures."""
        self._process.stdin.write("step\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        self.steps.append(self._answer())

    def median(self, figure: str) -> float:
        """The median of a figure over the steps."""
        return statistics.median(step[figure] for step in self.steps)

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.name} did not start or died; see why with --verbose")
        return json.loads(line)


def measure(options: argparse.Namespace, filters: int) -> list[Process]:
    """All contestants of one width, after `--rounds` rounds."""
    processes = []
    for name in options.contestants:
        python = options.peer_python if CONTESTANTS[name].is_peer else sys.executable
        processes.append(Process(name, python, options, filters))
        print(f"  {CONTESTANTS[name].title}: ready ({processes[-1].facts['versions']})", file=sys.stderr, flush=True)
    for _ in range(options.rounds):
        for process in processes:
            process.step()
    for process in processes:
        process.close()
    return processes


def pairwise(process: Process, ours: Process) -> float:
    """The median over the rounds of a contestant's step over our step of the same round."""
    pairs = zip(process.steps, ours.steps, strict=True)
    return statistics.median(theirs["seconds"] / own["seconds"] for theirs, own in pairs)


def table(processes: Sequence[Process], filters: int) -> str:
    """The figures of one width as a Markdown table, and our share of the best peer's time."""
    ours = next(process for process in processes if process.name == OURS)
    lines = [
        f"### {filters} first filters (widths {filters} to {filters * 16})",
        "",
        "| code | parameters | seconds a step (least) | CPU seconds | time / ours: of medians, pairwise | peak |",
        "|---|---|---|---|---|---|",
    ]
    for process in processes:
        seconds = process.median("seconds")
        lines.append(
            f"| {CONTESTANTS[process.name].title} | {process.facts['parameters'] / 1e6:.2f} M "
            f"| {seconds:.2f} ({min(step['seconds'] for step in process.steps):.2f}) "
            f"| {process.median('cpu_seconds'):.2f} "
            f"| {seconds / ours.median('seconds'):.2f}, {pairwise(process, ours):.2f} "
            f"| {process.steps[-1]['peak_gib']:.2f} GiB |"
        )
    peers = [p for p in processes if CONTESTANTS[p.name].is_peer and CONTESTANTS[p.name].as_installed]
    if peers:
        best = min(peers, key=lambda process: process.median("seconds"))
        lines += [
            "",
            f"Our step takes {ours.median('seconds') / best.median('seconds'):.2f} of the time of the best peer as "
            f"installed ({CONTESTANTS[best.name].title}); pairwise {1 / pairwise(best, ours):.2f}.",
        ]
    return "\n".join(lines)


def machine() -> str:
    """The processor, its cores and the system, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{load}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of the peers' environment; without it only our code is measured")
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32], help="first filters, 16 and 32")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, help="which, unless all")
    parser.add_argument("--rounds", type=int, default=7, help="measured steps of each")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of the square images in pixels")
    parser.add_argument("--verbose", action="store_true", help="show what the contestants print")
    parser.add_argument("--serve", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.filters[0], options.batch, options.size, options.warm_up)
        return
    if not options.contestants:
        options.contestants = [name for name, c in CONTESTANTS.items() if options.peer_python or not c.is_peer]
    if OURS not in options.contestants:
        options.contestants.insert(0, OURS)
    if not options.peer_python and any(CONTESTANTS[name].is_peer for name in options.contestants):
        parser.error("the peers need --peer-python; benchmarks/requirements-peers.txt lists what it must hold")
    print(f"Machine: {machine()}")
    print(
        f"Batch {options.batch}, {options.size} px, {options.rounds} rounds after {options.warm_up} steps of warm-up\n"
    )
    for filters in options.filters:
        print(table(measure(options, filters), filters), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
