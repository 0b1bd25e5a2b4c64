"""A model before its first step: network, loss, optimizer, and the weights to start from."""

import math
from collections.abc import Sequence
from pathlib import Path

import keras

from polypseg.config import Config
from polypseg.data.batches import make_readers
from polypseg.data.epochs import training_plan
from polypseg.data.samples import Sample
from polypseg.models.checkpoint import copy_weights
from polypseg.models.deep_supervision import with_supervised_levels
from polypseg.models.onnx_weights import copy_onnx_weights
from polypseg.models.registry import build_model
from polypseg.records.split import Split
from polypseg.train.coefficients import DiceCoefficient, IoUCoefficient
from polypseg.train.losses import DeepSupervision, build_loss
from polypseg.train.named_models import start_file
from polypseg.train.normalisation import calibration_batches, freeze_normalisation, settle_normalisation
from polypseg.train.optimizers import build_optimizer
from polypseg.train.samples import training_draws


def new_model(config: Config, samples: Sequence[Sample], split: Split) -> keras.Model:
    """The network that a config names, compiled, with the weights that its training begins with.

    Raises:
        ModelError: The file to start from cannot be loaded, or holds another network.
    """
    model, loss = build_model(config.model, config.data.size), build_loss(config.loss)
    if config.train.freeze_normalisation:
        freeze_normalisation(model)
    if config.train.start_from is not None:
        _start_from(model, start_file(Path(config.train.start_from)), config, samples, split)
    if config.model.deep_supervision:
        model, loss = with_supervised_levels(model), DeepSupervision(loss)
    plan = training_plan(config.data, config.train.seed, training_draws(samples, split, config))
    num_steps = math.ceil(plan.num_shown(len(split.names("train"))) / config.data.batch_size) * config.train.epochs
    optimizer = build_optimizer(config.train, num_steps, model)
    model.compile(optimizer=optimizer, loss=loss, metrics=[DiceCoefficient(), IoUCoefficient()])
    return model


def _start_from(model: keras.Model, path: Path, config: Config, samples: Sequence[Sample], split: Split) -> None:
    """Gives the model the weights of a file; one in which normalisation was folded away gets the training's statistics,
    unless normalisation is frozen: then it predicts as the file does, from the first step to the last.

    Raises:
        ModelError: The file cannot be loaded, or holds another network.
    """
    if path.suffix.lower() != ".onnx":
        copy_weights(model, path)
        return
    copy_onnx_weights(model, path)
    if config.train.freeze_normalisation:
        return
    reader = make_readers(samples, split, config.data, config.split)["train"]
    plan = training_plan(config.data, config.train.seed, training_draws(samples, split, config))
    settle_normalisation(model, calibration_batches(reader, plan))
