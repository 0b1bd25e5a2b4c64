"""Seconds a training step and peak memory of the Attention U-Net beside its peers, measured in turn.

    python benchmarks/training_step.py --peer-python peers/bin/python --filters 16 32

Every contestant lives in a process of its own, so that its peak memory is its own, and waits while another one
works. A round is one step of each, A B C A B C, so that whatever else the machine does hits all alike. The
figure to trust is the ratio: the median over the rounds of (peer's step / our step in the same round).

All take the same batch (random numbers), Adam at 1e-3, and BCE + 0.5 x (1 - Dice), Dice per image with smooth 1.
Keras models run as `polypseg train` runs them, through `compile` and `train_on_batch`.
"""

import argparse
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from workers import Worker, answers_apart, ratio, work_in_turns

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
    """Build one contestant, then train a step a turn."""
    answers = answers_apart()
    random = np.random.default_rng(0)
    images = random.random((batch, size, size, 3), dtype=np.float32)
    masks = (random.random((batch, size, size, 1)) < 0.15).astype(np.float32)
    step, parameters = CONTESTANTS[name].build(filters, images, masks)
    losses = [step() for _ in range(warm_up)]

    def turn() -> dict[str, float]:
        loss = step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux, to GiB
        return {"peak_gib": peak, "loss": loss}

    work_in_turns(answers, {"parameters": parameters, "loss": losses[0]}, turn)


def start(name: str, python: str, options: argparse.Namespace, filters: int) -> Worker:
    """The contestant in a process of its own, built and warmed up."""
    command = [python, str(Path(__file__).resolve()), "--serve", name, "--filters", str(filters)]
    command += ["--batch", str(options.batch), "--size", str(options.size), "--warm-up", str(options.warm_up)]
    worker = Worker(name, command, options.verbose)
    worker.wait_until_ready()
    return worker


def measure(options: argparse.Namespace, filters: int) -> list[Worker]:
    """All contestants of one width, after `--rounds` rounds."""
    workers = []
    for name in options.contestants:
        python = options.peer_python if CONTESTANTS[name].is_peer else sys.executable
        workers.append(start(name, python, options, filters))
        print(f"  {CONTESTANTS[name].title}: ready ({workers[-1].facts['versions']})", file=sys.stderr, flush=True)
    for _ in range(options.rounds):
        for worker in workers:
            worker.take_turn()
    for worker in workers:
        worker.close()
    return workers


def table(workers: Sequence[Worker], filters: int) -> str:
    """The figures of one width as a Markdown table, and our share of the best peer's time."""
    ours = next(worker for worker in workers if worker.name == OURS)
    lines = [
        f"### {filters} first filters (widths {filters} to {filters * 16})",
        "",
        "| code | parameters | seconds a step (least) | CPU seconds | time / ours: of medians, pairwise | peak |",
        "|---|---|---|---|---|---|",
    ]
    for worker in workers:
        seconds = worker.median()
        lines.append(
            f"| {CONTESTANTS[worker.name].title} | {worker.facts['parameters'] / 1e6:.2f} M "
            f"| {seconds:.2f} ({worker.least():.2f}) "
            f"| {worker.median('cpu_seconds'):.2f} "
            f"| {seconds / ours.median():.2f}, {ratio(worker, ours):.2f} "
            f"| {worker.turns[-1]['peak_gib']:.2f} GiB |"
        )
    peers = [w for w in workers if CONTESTANTS[w.name].is_peer and CONTESTANTS[w.name].as_installed]
    if peers:
        best = min(peers, key=lambda worker: worker.median())
        lines += [
            "",
            f"Our step takes {ours.median() / best.median():.2f} of the time of the best peer as "
            f"installed ({CONTESTANTS[best.name].title}); pairwise {1 / ratio(best, ours):.2f}.",
        ]
    return "\n".join(lines)


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
    from polypseg.machine import machine, versions

    print(f"Machine: {machine()}\nVersions: {versions()}")
    print(
        f"Batch {options.batch}, {options.size} px, {options.rounds} rounds after {options.warm_up} steps of warm-up\n"
    )
    for filters in options.filters:
        print(table(measure(options, filters), filters), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
