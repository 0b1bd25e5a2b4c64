"""Distillation: what the teacher says is mixed with the masks; a run goes on with the teacher that it began with."""

import json

import keras
import numpy as np
import pytest

from polypseg.config import load_config
from polypseg.data.batches import PyBatches, tf_batches
from polypseg.data.epochs import BatchPlan, EpochCounter
from polypseg.errors import ModelError, RunError
from polypseg.models.checkpoint import load_model, save_model
from polypseg.train.named_models import files_digest
from polypseg.train.teacher import load_teacher
from train.constant_model import constant_model, group


def softened(path, weight, size=8):
    masks = np.zeros((2, size, size, 1), np.float32)
    masks[0] = 1
    found = load_teacher(path, size, weight)(np.zeros((2, size, size, 3), np.float32), masks)
    return keras.ops.convert_to_numpy(found)


def test_mixture_by_hand(tmp_path):
    # sigmoid(ln 3) = 3/4. A quarter of it and three quarters of the mask: 0.75 + 0.1875, and 0.1875.
    found = softened(constant_model(tmp_path / "teacher.keras", np.log(3)), weight=0.25)
    np.testing.assert_allclose(found[0], 0.9375, atol=1e-6)
    np.testing.assert_allclose(found[1], 0.1875, atol=1e-6)
    assert found.shape == (2, 8, 8, 1)


def test_whole_weight_leaves_nothing_of_the_mask(tmp_path):
    found = softened(constant_model(tmp_path / "teacher.keras", np.log(3)), weight=1.0)
    np.testing.assert_allclose(found, 0.75, atol=1e-6)


def test_members_are_averaged(tmp_path):
    # 3/4 and 1/4: on average one half.
    found = softened(group(tmp_path / "folds", np.log(3), -np.log(3)), weight=1.0)
    np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_run_is_its_best_model_and_another_size_is_resized(tmp_path):
    constant_model(tmp_path / "run" / "checkpoints" / "best.keras", np.log(3), size=16)
    found = softened(tmp_path / "run", 1.0, size=8)
    assert found.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(found, 0.75, atol=1e-6)


def test_what_is_no_teacher_is_refused(tmp_path):
    image = keras.Input((8, 8, 3))
    save_model(keras.Model(image, keras.layers.Conv2D(2, 1)(image)), tmp_path / "two.keras")
    with pytest.raises(ModelError, match="expected one probability a pixel"):
        load_teacher(tmp_path / "two.keras", 8, 0.5)


class CountingReader:
    """Eight images, each of the brightness of its number, half of each a polyp."""

    count, size, error = 8, 8, None

    def read(self, indices):
        images = np.broadcast_to(np.asarray(indices, np.uint8)[:, None, None, None] * 20, (len(indices), 8, 8, 3))
        masks = np.zeros((len(indices), 8, 8, 1), np.uint8)
        masks[:, :4] = 1
        return images.copy(), masks


def test_batches_carry_what_the_teacher_says_of_the_augmented_image():
    # This teacher answers with the image's own red, so that the softened mask must be that of the very image given.
    def change_masks(images, masks):
        return 0.5 * masks + 0.5 * images[..., :1]

    plan = BatchPlan(4, "standard", True, 3)
    plain = tf_batches(CountingReader(), plan, EpochCounter())
    soft = tf_batches(CountingReader(), plan, EpochCounter(), change_masks)
    arrays = PyBatches(CountingReader(), plan, EpochCounter(), change_masks)
    arrays.on_epoch_begin()
    for index, ((images, masks), (same, softened_masks)) in enumerate(zip(plain, soft, strict=True)):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_allclose(softened_masks, 0.5 * masks + 0.5 * images[..., :1], atol=1e-6)
        np.testing.assert_allclose(arrays[index][1], softened_masks, atol=1e-5)
        assert len(np.unique(softened_masks)) > 2


SMALL = [
    *("data.size=32", "data.batch_size=4", "data.augment=flip", "model.filters=2", "model.depth=1"),
    *("split.kind=ratio", "split.validation=0.25", "split.test=0.25", "split.near_duplicate_bits=-1"),
    *("train.tensorboard=false", "train.epochs=2", "train.deterministic=true"),
]


def test_student_is_resumed_as_if_nothing_had_happened_and_only_with_its_teacher(tmp_path, monkeypatch):
    from polypseg.data.synthetic import make_synthetic
    from polypseg.train.fit import resume, train

    make_synthetic(tmp_path / "data", 12, seed=2, side_range=(40, 56))
    teacher = constant_model(tmp_path / "teacher.keras", np.log(3), size=32)
    monkeypatch.chdir(tmp_path)
    config = load_config(overrides=[*SMALL, "train.teacher=teacher.keras", "train.teacher_weight=1.0"])

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    whole = train(tmp_path / "data", tmp_path / "whole", config)
    assert whole.environment().teacher_digest == files_digest([teacher])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "data", tmp_path / "cut", config, callbacks=[Stop()])
    monkeypatch.chdir("/")  # the teacher is found from anywhere
    cut = resume(tmp_path / "cut")
    weights = [load_model(run.best_path).get_weights() for run in (whole, cut)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    plain = train(tmp_path / "data", tmp_path / "plain", load_config(overrides=SMALL))
    assert plain.history()[0]["loss"] != whole.history()[0]["loss"]
    constant_model(teacher, 0.0, size=32)
    record = json.loads((tmp_path / "cut" / "checkpoints" / "last" / "state.json").read_text())
    (tmp_path / "cut" / "checkpoints" / "last" / "state.json").write_text(json.dumps({**record, "finished": False}))
    with pytest.raises(RunError, match=r"teacher\.keras: not the teacher that .*cut began with"):
        resume(tmp_path / "cut")
