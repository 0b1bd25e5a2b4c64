"""Optimizers and learning-rate schedules, as a config names them.

The average of the weights is Keras' own (`use_ema`), kept in the optimizer and so in the saved state of a run.
"""

from collections.abc import Sequence
from typing import Any

import keras

from polypseg.config import TrainConfig

FIRST_RATE = 1 / 25
"""Where the warm-up of a one-cycle schedule begins, as a share of its highest rate (fastai's and PyTorch's default)."""


@keras.saving.register_keras_serializable("polypseg")
class AdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """`keras.optimizers.AdamW` with a rate of its own for the encoder, and decay of kernels alone.

    The decay of a weight goes with its own rate, so that an encoder of rate 0 stays as it is. Keras' list of what is
    not decayed is lost when a model is saved; here it follows from the class.

    Args:
        encoder_rate: Share of the learning rate that the encoder's variables have.
        encoder_places: Their places among the variables; None for those whose path begins with `encoder` (the paths
            within a nested model, as one of `keras.applications` is, do not).
        keywords: As for `keras.optimizers.AdamW`.

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; rates by layer after Howard and
        Ruder, "Universal Language Model Fine-tuning", ACL 2018, sec. 3.2.
    """

    def __init__(self, encoder_rate: float = 1.0, encoder_places: Sequence[int] | None = None, **keywords: Any) -> None:
        super().__init__(**{"name": "adamw", **keywords})
        self.encoder_rate, self.encoder_places = encoder_rate, encoder_places
        self._shares: list[float] = []
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])

    def build(self, var_list: Sequence[Any]) -> None:
        """Note which variables are the encoder's: TensorFlow's own, which come back with a step, know no path."""
        super().build(var_list)
        places = self.encoder_places
        if places is None:
            places = [place for place, variable in enumerate(var_list) if variable.path.startswith("encoder")]
        self._shares = [self.encoder_rate if place in places else 1.0 for place in range(len(var_list))]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        share = self._shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        if self.weight_decay is None:
            return
        for variable, share in zip(variables, self._shares, strict=True):
            if self._use_weight_decay(variable):
                loss = keras.ops.cast(self.learning_rate, variable.dtype) * (self.weight_decay * share)
                variable.assign(variable - variable * loss)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the optimizer."""
        return {**super().get_config(), "encoder_rate": self.encoder_rate, "encoder_places": self.encoder_places}


def build_optimizer(
    config: TrainConfig, num_steps: int, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer that a config names, with its schedule.

    Args:
        config: Optimizer, rate, schedule, clipping, average.
        num_steps: Steps of the whole training, at whose end a schedule comes to 0.
        model: What is trained: its layers whose names begin with `encoder` have the encoder's rate.
    """
    shared = {
        "learning_rate": learning_rate(config, num_steps),
        "global_clipnorm": config.clip_norm,
        "use_ema": config.ema_momentum > 0,
        "ema_momentum": config.ema_momentum,
    }
    if config.optimizer == "adam":
        return keras.optimizers.Adam(**shared)
    places = None if model is None else _encoder_places(model)
    return AdamW(config.encoder_rate, places, weight_decay=config.weight_decay, **shared)


def _encoder_places(model: keras.Model) -> list[int]:
    """The places of the encoder's variables among those that are trained."""
    encoder = {id(v) for layer in model.layers if layer.name.startswith("encoder") for v in layer.trainable_variables}
    return [place for place, variable in enumerate(model.trainable_variables) if id(variable) in encoder]


def learning_rate(config: TrainConfig, num_steps: int) -> Any:
    """The rate, or its schedule over `num_steps` steps.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5 without
        restarts; Smith and Topin, "Super-Convergence", 2019.
    """
    rate = config.learning_rate
    if config.schedule == "plateau":
        return rate
    if config.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, num_steps)
    rising = min(max(1, round(config.warmup * num_steps)), num_steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        rate * FIRST_RATE, max(1, num_steps - rising), warmup_target=rate, warmup_steps=rising
    )
