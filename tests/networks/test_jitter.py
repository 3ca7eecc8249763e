import keras
import numpy as np
import pytest

from lenspipe.networks.jitter import CalibrationJitter, Offset, OrientedSky, SkySymmetry, TurnBack


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


def _moments(image):
    """Return e1, e2, x, y of stamps by their moments: what a perfect network would answer."""
    side = image.shape[1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    flux = image[..., 0]
    mean = [(flux * part).sum(axis=(1, 2)) / flux.sum(axis=(1, 2)) for part in (x, y)]
    dx, dy = (part[None] - m[:, None, None] for part, m in zip((x, y), mean, strict=True))
    xx, yy, xy = (
        (flux * part).sum(axis=(1, 2)) / flux.sum(axis=(1, 2)) for part in (dx * dx, dy * dy, dx * dy)
    )
    return np.stack([(xx - yy) / (xx + yy), 2 * xy / (xx + yy), *mean], axis=1)


def test_answers_about_turned_stamps_are_turned_back():
    rng = np.random.default_rng(1)
    image = np.repeat(rng.uniform(size=(1, 9, 9, 1)).astype(np.float32) ** 4, 64, axis=0)
    turned, draws = OrientedSky(seed=2)(image, training=True)
    turned = keras.ops.convert_to_numpy(turned)
    assert len({t.tobytes() for t in turned}) == 8
    errors = np.repeat(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), 64, axis=0)
    seen = np.stack([_moments(turned).astype(np.float32), errors], axis=-1)
    back = keras.ops.convert_to_numpy(TurnBack(["e1", "e2", "x_lens", "y_lens"])(seen, draws))
    np.testing.assert_allclose(back[..., 0], _moments(image), atol=1e-5)
    # the error of x is that of y where stamps were transposed
    transposed = keras.ops.convert_to_numpy(draws)[:, 2] > 0
    np.testing.assert_allclose(back[:, 2, 1], np.where(transposed, 0.4, 0.3), rtol=1e-6)
    np.testing.assert_allclose(back[:, :2, 1], errors[:, :2], rtol=1e-6)


def test_what_does_not_turn_is_left_and_nothing_turns_at_prediction():
    layer = TurnBack(["theta_e", "x_lens", "y_lens"])
    seen = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    draws = np.ones((5, 3), np.int32)
    np.testing.assert_array_equal(layer(seen, draws)[:, 0], seen[:, 0])
    image = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
    same, none = OrientedSky(seed=1)(image)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(layer(seen, none), seen)
    assert TurnBack.from_config(layer.get_config()).targets == layer.targets
