import keras
import numpy as np
import pytest

from lenspipe.networks.layers import (
    MaskChannel,
    MCDropout,
    NoiseChannel,
    SkySymmetry,
    Stretch,
    TargetScale,
    fixed_masks,
)


def _roundtrip(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)


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


def _symmetries(stamp):
    turned = [np.rot90(stamp, k) for k in range(4)]
    return {t.tobytes() for t in [*turned, *(t[:, ::-1] for t in turned)]}


def test_sky_symmetry_draws_all_eight_and_nothing_else():
    stamp = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    out = keras.ops.convert_to_numpy(SkySymmetry(seed=1)(np.repeat(stamp[None], 200, 0), training=True))
    assert {o.tobytes() for o in out} == _symmetries(stamp)


def test_sky_symmetry_is_off_at_prediction_and_seeded():
    image = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype(np.float32)
    np.testing.assert_array_equal(SkySymmetry(seed=1)(image), image)
    first, again, other = (SkySymmetry(seed=s)(image, training=True) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def _dropout_model(rate, seed=0):
    inputs = keras.Input((1000,))
    x = keras.layers.BatchNormalization(name="bn")(inputs)
    return keras.Model(inputs, MCDropout(rate, seed=seed, name="drop")(x))


@pytest.mark.parametrize("saved", [False, True])
def test_dropout_drops_its_rate_under_predict_and_leaves_batch_norm_alone(saved, tmp_path):
    model = _dropout_model(0.3)
    model = _roundtrip(model, tmp_path) if saved else model
    out = model.predict(np.full((50, 1000), 7.0, np.float32), verbose=0)
    dropped = np.mean(out == 0)
    assert abs(dropped - 0.3) < 5 * np.sqrt(0.21 / 50_000)
    # inference-mode batch norm of fresh statistics is the identity to epsilon; batch statistics would give 0
    np.testing.assert_allclose(out[out != 0], 7.0 / 0.7 / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(model.get_layer("bn").moving_mean, np.zeros(1000))


def test_the_keras_dropout_that_the_layer_replaces_drops_nothing_under_predict():
    """Trap 1. Should Keras mend this, `MCDropout` can go."""
    inputs = keras.Input((1000,))
    model = keras.Model(inputs, keras.layers.Dropout(0.3)(inputs, training=True))
    assert np.all(model.predict(np.ones((5, 1000), np.float32), verbose=0) != 0)


def test_fixed_masks_replace_the_random_ones_inside_the_block_only():
    layer = MCDropout(0.5, name="drop")
    mask = np.array([1, 0, 1, 0], np.float32)
    with fixed_masks({"drop": mask}):
        np.testing.assert_array_equal(layer(np.ones((2, 4), np.float32)), np.tile(mask * 2, (2, 1)))
    assert 300 < np.sum(keras.ops.convert_to_numpy(layer(np.ones((1, 1000), np.float32))) == 0) < 700


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_an_impossible_rate(rate):
    with pytest.raises(ValueError, match="rate"):
        MCDropout(rate)


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
