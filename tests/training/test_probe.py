"""The realism probe finds what differs, and nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lenspipe.core.errors import InputError
from lenspipe.training.probe import _split, match_magnitudes, probe_realism, stamp_features

BANDS = ("g", "r")


def blobs(
    seed: int, count: int = 110, sigma: float = 2.0, smooth: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:27, :27] - 13.0
    width = sigma * rng.lognormal(0, 0.1, count)[:, None, None]
    image = rng.uniform(20, 60, count)[:, None, None] * np.exp(-0.5 * (x**2 + y**2) / width**2)
    noise = rng.normal(0, 1, (count, 27, 27, 2))
    if smooth:
        noise = gaussian_filter(noise, (0, smooth, smooth, 0))
        noise /= noise.std()
    return 5.0 * (image[..., None] * [1.0, 1.5] + noise), np.full((count, 2), 5.0)


@pytest.fixture(scope="module")
def alike():
    return probe_realism(*blobs(1), *blobs(2), BANDS, 3, repeats=2)


def test_equals_cannot_be_told_apart(alike):
    assert alike["linear"] == pytest.approx(0.5, abs=0.15)
    assert alike["network"] == pytest.approx(0.5, abs=0.18)
    assert alike["permuted"] == pytest.approx(0.5, abs=0.1)
    assert 0.02 < alike["linear_err"] < 0.08
    assert 0 < alike["linear_scatter"] < 0.06
    assert 0 < alike["network_scatter"] < 0.1
    assert (alike["n_real"], alike["n_simulated"]) == (110, 110)


def test_what_differs_is_found_by_both_and_named():
    found = probe_realism(*blobs(1), *blobs(2, sigma=2.6, smooth=0.6), BANDS, 3, repeats=2)
    assert found["linear"] > 0.99
    assert found["network"] > 0.9
    features = {name: (weight, alone) for name, weight, alone in found["features"]}
    assert features["corr1_g"][0] > 0
    assert features["corr1_g"][1] > 0.95
    assert features["size_g"][1] > 0.9


def test_same_seed_same_answer(alike):
    again = probe_realism(*blobs(1), *blobs(2), BANDS, 3, repeats=2)
    network = dict.fromkeys(("network", "network_err", "network_scatter"), 0)
    assert {**again, **network} == {**alike, **network}
    assert again["network"] == pytest.approx(alike["network"], abs=0.02)


def test_too_few_are_refused():
    with pytest.raises(InputError, match="needs 12 real and 12 simulated stamps at least, received 11"):
        probe_realism(*blobs(1, 11), *blobs(2), BANDS, 3, repeats=2)


def test_few_are_compared_by_the_linear_probe_alone_with_an_error_that_says_so():
    images = np.concatenate([np.repeat([0, 1, 2, 3], 4), 4 + np.arange(64)])
    found = probe_realism(*blobs(1, 16), *blobs(2, 64), BANDS, 3, images, repeats=2)
    assert np.isnan(found["network"])
    assert np.isnan(found["network_scatter"])
    assert 0.04 < found["linear_err"] < 0.15
    assert probe_realism(*blobs(1, 16), *blobs(2, 64, sigma=3.0), BANDS, 3, images, repeats=2)["linear"] > 0.9


def test_stamps_of_one_image_are_never_divided():
    label = np.repeat([0, 1], [20, 60])
    images = np.concatenate([np.repeat([0, 1, 2], [8, 6, 6]), 3 + np.arange(60) // 2])
    folds = _split(label, images, 1, 0)
    assert len(folds) == 3
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(80))
    for train, test in folds:
        assert not np.intersect1d(images[train], images[test]).size
        assert set(label[train]) == {0, 1}


def test_features_are_finite_even_of_stamps_without_sky():
    pixels = np.full((3, 33, 33, 2), 8.0, np.float32)
    features, names = stamp_features(pixels, BANDS)
    assert features.shape == (3, len(names))
    assert len(set(names)) == len(names)
    assert np.all(np.isfinite(features))


def test_magnitudes_are_matched():
    rng = np.random.default_rng(1)
    real, simulated = rng.normal(21, 1, 400), np.append(rng.normal(22, 1, 900), np.nan)
    rows, others = match_magnitudes(real, simulated, 5)
    assert len(rows) == len(others) > 200
    assert np.unique(rows).size == len(rows)
    assert abs(real[rows].mean() - simulated[others].mean()) < 0.05
    assert np.histogram(real[rows], np.arange(17, 26, 0.5))[0] == pytest.approx(
        np.histogram(simulated[others], np.arange(17, 26, 0.5))[0]
    )
    few, many = match_magnitudes(real[:20], simulated, 5, ratio=4)
    assert 4 * len(few) == len(many) > 40
    empty = match_magnitudes(np.array([10.0]), np.array([20.0]), 1)
    assert [len(part) for part in empty] == [0, 0]
