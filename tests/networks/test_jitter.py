import keras
import numpy as np
import pytest

from lenspipe.networks.jitter import CalibrationJitter, Offset, SkySymmetry


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


def test_calibration_jitter_is_a_factor_a_band_and_stamp_of_the_size_asked_for():
    image = np.full((2000, 4, 4, 3), 7.0, np.float32)
    out = keras.ops.convert_to_numpy(CalibrationJitter(0.03, seed=1)(image, training=True))
    factor = out[:, 0, 0] / 7.0
    np.testing.assert_allclose(out, np.broadcast_to(factor[:, None, None], image.shape) * 7.0, rtol=1e-5)
    np.testing.assert_allclose(np.log(factor).std(axis=0), 0.03, rtol=0.06)
    assert abs(np.corrcoef(factor.T)[0, 1]) < 0.1
    np.testing.assert_array_equal(CalibrationJitter(0.03)(image[:2]), image[:2])


def test_offset_moves_stamps_whole_by_up_to_its_reach():
    stamp = np.arange(25, dtype=np.float32).reshape(5, 5, 1)
    out = keras.ops.convert_to_numpy(Offset(1, seed=1)(np.repeat(stamp[None], 200, 0), training=True))
    moved = {np.roll(stamp, (y, x), (0, 1)).tobytes() for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert {o.tobytes() for o in out} == moved
    np.testing.assert_array_equal(Offset(1)(stamp[None]), stamp[None])


@pytest.mark.parametrize("layer", [CalibrationJitter(0.02, seed=3), Offset(2, seed=3)])
def test_jitter_is_seeded_and_saved(layer):
    image = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype(np.float32)
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(layer(image, training=True), again(image, training=True))


@pytest.mark.parametrize(("layer", "what"), [(CalibrationJitter, "error"), (Offset, "reach")])
def test_jitter_refuses_less_than_nothing(layer, what):
    with pytest.raises(ValueError, match=what):
        layer(-1)
