"""Batch normalisation measured anew: the mean over batches of images as the training changes them."""

import numpy as np
import pytest

from polypseg.data.batches import BatchPlan, SampleReader, tf_batches
from polypseg.data.catalogue import find_samples
from polypseg.train.normalisation import calibration_batches, measure_normalisation
from train.averaged_model import image_batches, nested_model


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_normalisation_is_the_mean_over_the_batches(name):
    model = nested_model()
    measure_normalisation(model, image_batches())
    layer = model.get_layer(name) if name == "outer" else model.get_layer("encoder").get_layer(name)
    # Means 0.1 and 0.8, on average 0.45; variances 0.1^2 and 0.2^2, on average (0.01 + 0.04) / 2.
    np.testing.assert_allclose(layer.moving_mean, [0.45] * 3, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.025] * 3, atol=1e-6)
    assert layer.momentum == 0.99  # as before


def test_statistics_are_of_images_as_the_training_changes_them(sample_folder):
    samples, _ = find_samples(sample_folder)
    plan = BatchPlan(4, "strong", True, seed=3)
    reader = SampleReader(samples[:10], 32, keep=False)
    trained_on = [images.numpy() for images, _ in tf_batches(reader, plan)]
    assert [len(images) for images in trained_on] == [4, 4, 2]
    measured_on = list(calibration_batches(reader, plan))
    assert len(measured_on) == 2  # the last batch is not whole
    for ours, theirs in zip(measured_on, trained_on, strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_fewer_images_than_a_batch_are_measured_on_all_the_same(sample_folder):
    samples, _ = find_samples(sample_folder)
    reader = SampleReader(samples[:3], 32, keep=False)
    assert [len(images) for images in calibration_batches(reader, BatchPlan(4, "none", True, seed=0))] == [3]
