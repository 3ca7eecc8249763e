import dataclasses

import numpy as np
import pytest

from lenspipe.core.errors import ModelMismatch
from lenspipe.training.bundle import load_bundle
from lenspipe.training.calibrate import EVEN, pool_probability
from lenspipe.training.committee import score_committee
from lenspipe.training.datasets import load_stamps
from lenspipe.training.scores import score_stamps


@pytest.fixture(scope="module")
def stamps(data):
    return load_stamps(data)


@pytest.fixture(scope="module")
def other(detector):
    """A member of another temper: the same networks, the other way round and otherwise calibrated."""
    return dataclasses.replace(
        detector,
        weights=detector.weights[::-1],
        calibration={"temperature": 0.3, "train_prior": 0.2, "lens_prior": 1e-3},
        _loaded=[],
    )


def _score(bundles, stamps, **settings):
    return score_committee(bundles, stamps.image[:12], stamps.noise_sigma[:12], 4, 1, 8, **settings)


def test_a_committee_of_one_is_its_member(detector, stamps):
    alone = score_stamps(detector, stamps.image[:12], stamps.noise_sigma[:12], 4, 1, 8)
    for name, value in vars(_score([detector], stamps)).items():
        np.testing.assert_array_equal(value, getattr(alone, name))


def test_the_score_is_the_mean_of_calibrated_probabilities_at_even_odds(detector, other, stamps):
    alone = [_score([bundle], stamps) for bundle in (detector, other)]
    votes = np.array(
        [
            pool_probability(s.score_fold, b.calibration, EVEN)
            for b, s in zip((detector, other), alone, strict=True)
        ]
    )
    both = _score([detector, other], stamps)
    np.testing.assert_allclose(both.score, votes.mean(axis=0), rtol=1e-12)
    assert both.score_fold.shape == (12, 4)
    np.testing.assert_array_equal(both.score_fold, np.hstack([s.score_fold for s in alone]))
    assert np.all(both.score_err >= 0.999 * votes.std(axis=0))
    assert np.ptp(votes, axis=0).max() > 0.01


def test_members_that_agree_have_the_error_of_one_of_them(detector, stamps):
    even = dataclasses.replace(
        detector, calibration={"temperature": 1.0, "train_prior": 0.5, "lens_prior": 0.1}
    )
    alone, both = _score([even], stamps), _score([even, even], stamps)
    np.testing.assert_allclose(both.score, alone.score, rtol=1e-12)
    np.testing.assert_allclose(both.p_lens, alone.p_lens, rtol=1e-9)
    inside = (alone.score > alone.score_err) & (alone.score + alone.score_err < 1)
    assert inside.any()
    np.testing.assert_allclose(both.score_err[inside], alone.score_err[inside], rtol=1e-9)


def test_the_prior_shifts_p_lens_and_leaves_the_order(detector, other, stamps):
    rare, common = (_score([detector, other], stamps, lens_prior=p) for p in (1e-4, EVEN))
    np.testing.assert_array_equal(rare.score, common.score)
    np.testing.assert_allclose(common.p_lens, common.score, rtol=1e-9)
    assert np.all(rare.p_lens < common.p_lens)
    np.testing.assert_array_equal(np.argsort(rare.p_lens), np.argsort(rare.score))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ("g", "i", "r")}, r"expects bands g,r,i, .* expects g,i,r"),
        ({"pixel_scale": 0.2}, r"a pixel scale \[arcsec\] of 0\.263, .* expects 0\.2"),
        ({"size": 45}, r"a stamp size \[px\] of 32, .* expects 45"),
    ],
)
def test_members_made_for_other_stamps_are_refused(detector, stamps, change, message):
    with pytest.raises(ModelMismatch, match=message):
        _score([detector, dataclasses.replace(detector, **change)], stamps)


def test_a_regressor_is_no_member(detector, regressor, stamps):
    with pytest.raises(ModelMismatch, match="a detector is needed"):
        _score([detector, load_bundle(regressor.path)], stamps)


def test_members_may_see_masks_or_not(detector, mask_detector, masked_data):
    stamps = load_stamps(masked_data, masks=True)
    some = stamps.inputs(slice(12))
    both = score_committee([detector, mask_detector], **some, mc_samples=4)
    for number, bundle in enumerate((detector, mask_detector)):
        alone = score_stamps(bundle, **some, mc_samples=4)
        np.testing.assert_array_equal(both.score_fold[:, 2 * number : 2 * number + 2], alone.score_fold)
    del some["mask"]
    with pytest.raises(ModelMismatch, match="looks at the stamps' masks"):
        score_committee([detector, mask_detector], **some, mc_samples=4)
