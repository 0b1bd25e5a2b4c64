"""Models that say one thing everywhere, alone and as the members of a group of runs."""

import keras

from polypseg.models.checkpoint import save_model
from polypseg.records.run import Run, write_members


def constant_model(path, logit, size=8):
    """A model that says sigmoid(logit) everywhere."""
    image = keras.Input((size, size, 3))
    output = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(logit))
    model = keras.Model(image, keras.layers.Activation("sigmoid")(output(image)))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)
    return path


def group(folder, *logits):
    write_members(_made(folder), "folds", [f"fold-{number}" for number in range(1, len(logits) + 1)])
    for number, logit in enumerate(logits, start=1):
        constant_model(folder / f"fold-{number}" / "checkpoints" / "best.keras", logit)
    return folder


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder)
