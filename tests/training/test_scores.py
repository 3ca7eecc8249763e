import numpy as np
import pytest

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.training import scores
from lenspipe.training.datasets import load_stamps
from lenspipe.training.posterior import sample_posteriors
from lenspipe.training.scores import score_stamps


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


def test_scores_depend_on_the_seed_and_spread_over_passes(detector, stamps):
    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    first, again, other = (score_stamps(detector, image, noise, 6, seed, 8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.score, again.score)
    assert not np.array_equal(first.score, other.score)
    assert np.all(first.score_err > 0)
    assert first.score_fold.shape == (8, 2)
    np.testing.assert_allclose(first.score, first.score_fold.mean(axis=1))


def test_the_prior_shifts_p_lens_only(detector, stamps):
    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    rare = score_stamps(detector, image, noise, 4, 1, 8)
    common = score_stamps(detector, image, noise, 4, 1, 8, lens_prior=0.5)
    np.testing.assert_array_equal(rare.score, common.score)
    assert np.all(rare.p_lens < common.p_lens)


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
        seen = score > 10 * scores.WORTH_A_LOOK  # whichever orientation the first look was in
        assert seen.sum() > 10
        for turn in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 2, 1, 3)):
            turned = {name: turn(values) if values.ndim == 4 else values for name, values in inputs.items()}
            again = score_stamps(bundle, **turned, mc_samples=4, seed=1).score
            np.testing.assert_allclose(again[seen], score[seen], rtol=1e-4)
            once, other = (
                scores.score_with(bundle.networks(), **of, mc_samples=4, seed=1, batch_size=64)[0]
                for of in (inputs, turned)
            )
            assert np.abs(once - other).max() > 1e-3  # one view of the same networks is not so


def test_what_shows_nothing_is_looked_at_once(detector, stamps, monkeypatch):
    how = {"mc_samples": 4, "seed": 1, "batch_size": 64}
    once, _, each_once = scores.score_with(detector.networks(), **stamps.inputs(), **how)
    worth = float(np.median(once))
    monkeypatch.setattr(scores, "WORTH_A_LOOK", worth)
    score, _, of_each = scores.score_with(detector.networks(), **stamps.inputs(), **how, views=8)
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
