import numpy as np
import pytest
from scipy.stats import norm

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.networks.layers import dropout_layers
from lenspipe.training import predict
from lenspipe.training.datasets import load_stamps
from lenspipe.training.predict import mixture_quantile, sample_posteriors, score_stamps


@pytest.fixture(scope="module")
def stamps(data):
    return load_stamps(data)


def test_a_stamp_scores_the_same_whatever_its_neighbours_and_batch(detector, stamps):
    image, noise = stamps.image, stamps.noise_sigma
    whole = score_stamps(detector, image, noise, mc_samples=6, seed=1, batch_size=16)
    pick = [40, 3, 17]
    for size in (16, 5, 1):
        part = score_stamps(detector, image[pick], noise[pick], mc_samples=6, seed=1, batch_size=size)
        for name in ("score", "score_err", "score_fold", "p_lens"):
            np.testing.assert_array_equal(
                getattr(part, name), getattr(whole, name)[pick], err_msg=f"{name} {size}"
            )


def test_a_posterior_is_the_same_whatever_its_neighbours_and_batch(regressor, stamps):
    image, noise = stamps.image[:20], stamps.noise_sigma[:20]
    whole = sample_posteriors(regressor, image, noise, mc_samples=6, batch_size=16)
    for size in (16, 3, 1):
        part = sample_posteriors(regressor, image[[11, 4]], noise[[11, 4]], mc_samples=6, batch_size=size)
        for target in ("theta_e", "z_src"):
            for name, value in vars(part[target]).items():
                np.testing.assert_array_equal(
                    value, getattr(whole[target], name)[[11, 4]], err_msg=f"{name} {size}"
                )


def test_scores_depend_on_the_seed_and_spread_over_passes(detector, stamps):
    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    first, again, other = (score_stamps(detector, image, noise, 6, seed, 8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.score, again.score)
    assert not np.array_equal(first.score, other.score)
    assert np.all(first.score_err > 0)
    assert first.score_fold.shape == (8, 2)
    np.testing.assert_allclose(first.score, first.score_fold.mean(axis=1))


def test_masks_drop_the_rate_of_their_layer_and_grow_with_the_passes(detector):
    network = detector.networks()[0]
    (layer,) = dropout_layers(network.passes.head)
    masks = network.draw_masks(400, seed=1)[layer.name]
    assert masks.shape == (400, 1, 512)
    assert abs(masks.mean() - (1 - layer.rate)) < 0.005
    np.testing.assert_array_equal(network.draw_masks(10, seed=1)[layer.name], masks[:10])
    assert not np.array_equal(detector.networks()[1].draw_masks(10, seed=1)[layer.name], masks[:10])


def test_the_prior_shifts_p_lens_only(detector, stamps):
    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    rare = score_stamps(detector, image, noise, 4, 1, 8)
    common = score_stamps(detector, image, noise, 4, 1, 8, lens_prior=0.5)
    np.testing.assert_array_equal(rare.score, common.score)
    assert np.all(rare.p_lens < common.p_lens)


def test_errors_are_positive_and_widen_with_calibration(regressor, stamps):
    import dataclasses

    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    wide = dataclasses.replace(
        regressor,
        calibration={"sigma_scale": {t: 2 * s for t, s in regressor.calibration["sigma_scale"].items()}},
    )
    one, two = (sample_posteriors(b, image, noise, 6)["theta_e"] for b in (regressor, wide))
    for name in ("err_lo", "err_hi", "aleatoric", "epistemic"):
        assert np.all(getattr(one, name) > 0)
        assert np.all(getattr(two, name) > getattr(one, name))
    np.testing.assert_allclose(two.sigma, 2 * one.sigma)
    np.testing.assert_array_equal(two.mean, one.mean)


@pytest.mark.parametrize("probability", [0.16, 0.5, 0.84])
def test_mixture_quantiles_invert_the_mixture(probability):
    rng = np.random.default_rng(0)
    means, variances = rng.normal(0, 2, (5, 3, 7)), rng.uniform(0.01, 4, (5, 3, 7))
    at = mixture_quantile(means, variances, probability)
    below = norm.cdf(at[..., None], means, np.sqrt(variances)).mean(axis=-1)
    np.testing.assert_allclose(below, probability, atol=1e-5)


def test_a_stamp_that_is_not_finite_is_refused(detector, stamps):
    image = stamps.image[:4].copy()
    image[2, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="sample 2 has pixels that are not finite"):
        score_stamps(detector, image, stamps.noise_sigma[:4])


def test_another_stamp_size_band_count_or_task_is_refused(detector, stamps):
    image, noise = stamps.image[:2], stamps.noise_sigma[:2]
    with pytest.raises(ModelMismatch, match="stamps"):
        score_stamps(detector, image[:, 4:-4, 4:-4], noise)
    with pytest.raises(ModelMismatch, match="stamps"):
        score_stamps(detector, image[..., :2], noise[:, :2])
    with pytest.raises(ModelMismatch, match="regressor is needed"):
        sample_posteriors(detector, image, noise)


def test_no_stamps_give_no_scores(detector, stamps):
    assert score_stamps(detector, stamps.image[:0], stamps.noise_sigma[:0]).score.shape == (0,)


def test_the_sky_has_no_up(detector, mask_detector, stamps, masked_data):
    """A stamp that may show a lens scores the same however it is turned, with its mask if the network sees one."""
    masked = load_stamps(masked_data, masks=True)
    for bundle, inputs in ((detector, stamps.inputs()), (mask_detector, masked.inputs())):
        assert bundle.views == 8
        score = score_stamps(bundle, **inputs, mc_samples=4, seed=1).score
        seen = score > 10 * predict.WORTH_A_LOOK  # whichever orientation the first look was in
        assert seen.sum() > 10
        for turn in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 2, 1, 3)):
            turned = {name: turn(values) if values.ndim == 4 else values for name, values in inputs.items()}
            again = score_stamps(bundle, **turned, mc_samples=4, seed=1).score
            np.testing.assert_allclose(again[seen], score[seen], rtol=1e-4)
            once, other = (
                predict.score_with(bundle.networks(), **of, mc_samples=4, seed=1, batch_size=64)[0]
                for of in (inputs, turned)
            )
            assert np.abs(once - other).max() > 1e-3  # one view of the same networks is not so


def test_what_shows_nothing_is_looked_at_once(detector, stamps, monkeypatch):
    how = {"mc_samples": 4, "seed": 1, "batch_size": 64}
    once, _, each_once = predict.score_with(detector.networks(), **stamps.inputs(), **how)
    worth = float(np.median(once))
    monkeypatch.setattr(predict, "WORTH_A_LOOK", worth)
    score, _, of_each = predict.score_with(detector.networks(), **stamps.inputs(), **how, views=8)
    first = each_once.max(axis=1) < worth  # a stamp is worth it if any network thinks so
    assert 0 < first.sum() < len(first)
    np.testing.assert_array_equal(score[first], once[first])
    assert np.all(score[~first] != once[~first])
    np.testing.assert_allclose(of_each.mean(axis=1), score)


def test_a_masked_stamp_scores_the_same_whatever_its_neighbours(mask_detector, masked_data):
    stamps = load_stamps(masked_data, masks=True)
    whole = score_stamps(mask_detector, **stamps.inputs(), mc_samples=4, seed=1, batch_size=16)
    pick = [40, 3, 17]
    some = stamps.inputs(pick)
    for size in (16, 2, 1):
        part = score_stamps(mask_detector, **some, mc_samples=4, seed=1, batch_size=size)
        for name in ("score", "score_err", "score_fold"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[pick])
    some["mask"] = some["mask"] != 0
    part = score_stamps(mask_detector, **some, mc_samples=4, seed=1, batch_size=16)
    np.testing.assert_array_equal(part.score, whole.score[pick])


def test_a_detector_that_sees_masks_refuses_stamps_without(mask_detector, masked_data):
    stamps = load_stamps(masked_data, masks=True)
    image, noise, mask = stamps.image[:2], stamps.noise_sigma[:2], stamps.mask[:2]
    for wrong in (None, mask[:1], mask[..., :2], mask.astype(np.int64)):
        with pytest.raises(ModelMismatch, match=r"expects one, uint8 \(2, 32, 32, 3\), 0 = usable, received"):
            score_stamps(mask_detector, image, noise, mask=wrong)


def test_a_detector_that_sees_none_takes_no_notice_of_masks(detector, stamps):
    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    mask = np.ones(image.shape, np.uint8)
    without, given = (score_stamps(detector, image, noise, 4, mask=m) for m in (None, mask))
    np.testing.assert_array_equal(given.score, without.score)
