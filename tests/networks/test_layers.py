import keras
import numpy as np
import pytest

from lenspipe.networks.layers import MaskChannel, NoiseChannel, Stretch, TargetScale


def test_stretch_is_asinh_in_units_of_the_noise_of_each_band():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 100, (3, 8, 8, 2)).astype(np.float32)
    noise = rng.uniform(1, 50, (3, 2)).astype(np.float32)
    got = keras.ops.convert_to_numpy(Stretch(softening=2.0, scale=0.3)(image, noise))
    np.testing.assert_allclose(
        got, np.arcsinh(image / (2.0 * noise[:, None, None])) * 0.3, rtol=1e-5, atol=1e-6
    )


def test_stretch_does_not_depend_on_the_unit_of_flux():
    image = np.random.default_rng(2).normal(0, 5, (1, 8, 8, 1)).astype(np.float32)
    noise = np.ones((1, 1), np.float32)
    layer = Stretch()
    np.testing.assert_allclose(layer(image, noise), layer(image * 1024, noise * 1024), rtol=1e-6)


def test_stretch_refuses_a_softening_of_zero():
    with pytest.raises(ValueError, match="softening"):
        Stretch(softening=0)


def test_noise_channel_appends_an_even_channel_a_band_and_keeps_the_others():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    noise = rng.uniform(0, 500, (3, 2)).astype(np.float32)
    layer = NoiseChannel(unit=4.0, scale=0.3)
    out = keras.ops.convert_to_numpy(layer(image, noise))
    assert out.shape == layer.compute_output_shape(image.shape, noise.shape) == (3, 8, 8, 4)
    np.testing.assert_array_equal(out[..., :2], image)
    level = np.broadcast_to(np.arcsinh(noise / 4.0)[:, None, None] * 0.3, image.shape)
    np.testing.assert_allclose(out[..., 2:], level, rtol=1e-5)


def test_noise_channel_refuses_a_unit_of_zero():
    with pytest.raises(ValueError, match="unit"):
        NoiseChannel(unit=0)


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_mask_channel_appends_one_where_a_pixel_could_not_be_used_and_keeps_the_others(dtype):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    mask = rng.integers(0, 3, image.shape).astype(dtype)
    layer = MaskChannel()
    out = keras.ops.convert_to_numpy(layer(image, mask))
    assert out.shape == layer.compute_output_shape(image.shape, mask.shape) == (3, 8, 8, 4)
    np.testing.assert_array_equal(out[..., :2], image)
    np.testing.assert_array_equal(out[..., 2:], mask != 0)


def test_target_scale_moves_mean_and_variance_to_target_units():
    standard = np.random.default_rng(0).normal(size=(5, 2, 2)).astype(np.float32)
    out = np.asarray(TargetScale([1.0, -2.0], [0.5, 3.0])(standard))
    np.testing.assert_allclose(out[..., 0], standard[..., 0] * [0.5, 3.0] + [1.0, -2.0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.exp(out[..., 1]), np.exp(standard[..., 1]) * np.array([0.25, 9.0]), rtol=1e-5
    )


def test_target_scale_refuses_a_std_of_zero():
    with pytest.raises(ValueError, match="std"):
        TargetScale([0.0], [0.0])


def test_target_scale_moves_a_factor_of_the_precision_to_target_units():
    std, mean = np.array([0.5, 3.0, 0.1]), np.array([1.0, -2.0, 0.0])
    raw = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    out = np.asarray(TargetScale(mean, std)(raw))

    def covariance(square):
        factor = np.tril(square, -1) + np.diag(np.exp(-0.5 * np.diag(square)))
        return np.linalg.inv(factor @ factor.T)

    for before, after in zip(raw.astype(float), out.astype(float), strict=True):
        np.testing.assert_allclose(after[:, 0], before[:, 0] * std + mean, rtol=1e-5, atol=1e-6)
        expected = covariance(before[:, 1:]) * std[:, None] * std
        np.testing.assert_allclose(covariance(after[:, 1:]), expected, rtol=1e-4, atol=1e-6)
