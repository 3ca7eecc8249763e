"""The perceptron on radial profiles that a regressor is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.training.profiles import predict_from_profiles, radial_profiles


def blobs(n: int, seed: int, bands: int = 2) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gaussians of width 2 to 5 px, and their widths."""
    rng = np.random.default_rng(seed)
    width = rng.uniform(2.0, 5.0, n)
    y, x = np.mgrid[:24, :24] - 11.5
    image = 100 * np.exp(-0.5 * (x**2 + y**2) / width[:, None, None] ** 2)
    image = image[..., None] + rng.normal(size=(n, 24, 24, bands))
    return {"image": image.astype(np.float32), "noise_sigma": np.ones((n, bands), np.float32)}, width


def test_profiles_are_means_within_rings_in_units_of_the_noise():
    y, x = np.mgrid[:20, :20] - 9.5
    radius = np.hypot(x, y)
    image = np.stack([np.full((20, 20), 4.0), radius], axis=-1)[None].astype(np.float32)
    got = np.sinh(radial_profiles(image, np.array([[2.0, 1.0]]))).reshape(2, -1)
    np.testing.assert_allclose(got[0], 2.0, rtol=1e-5)
    for k, value in enumerate(got[1]):
        inside = (radius >= 1.5 * k) & (radius < 1.5 * (k + 1))
        assert value == pytest.approx(radius[inside].mean(), rel=1e-5)


def test_a_turned_stamp_has_the_same_profile():
    stamps, _ = blobs(3, 1)
    turned = np.ascontiguousarray(np.rot90(stamps["image"], axes=(1, 2)))
    np.testing.assert_allclose(
        radial_profiles(turned, stamps["noise_sigma"]), radial_profiles(**stamps), atol=1e-5
    )


def test_the_perceptron_learns_what_profiles_tell_and_is_repeatable():
    train, width = blobs(600, 1)
    test, wanted = blobs(200, 2)
    truth = np.stack([np.log(width), np.random.default_rng(3).normal(size=600)], axis=1)
    got = predict_from_profiles(train, truth, test, seed=5)
    assert got.shape == (200, 2)
    assert np.std(got[:, 0] - np.log(wanted)) < 0.2 * np.std(np.log(wanted))
    assert np.std(got[:, 1]) < 0.7  # what no profile tells it does not tell either
    np.testing.assert_array_equal(got, predict_from_profiles(train, truth, test, seed=5))


def test_few_stamps_and_one_target_are_enough_to_run():
    train, width = blobs(12, 1)
    assert predict_from_profiles(train, np.log(width)[:, None], train, seed=1).shape == (12, 1)
