import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.io.shards import Shard
from lenspipe.refine.fit import Refined
from lenspipe.refine.parameters import NAMES, PLACE
from lenspipe.refine.stamps import tell_refined, weigh_stamps

DES = load_survey("des")


def _shard(**changes):
    image = np.full((2, 8, 8, 3), 100.0, np.float32)
    image[1] = -50
    noise = np.full((2, 3), 10.0, np.float32)
    return Shard(image, noise, ("g", "r", "i"), 0.263, "des", 0, **changes)


def test_noise_is_that_of_sky_and_of_the_light_itself():
    got = weigh_stamps(_shard(electrons_per_njy=np.array([[2.0, 4.0, np.nan]] * 2)), DES)
    expected = 1 / np.sqrt(100 + np.array([50.0, 25.0, 0.0]))
    np.testing.assert_allclose(got.inverse_sigma[0, 3, 3], expected)
    np.testing.assert_allclose(got.inverse_sigma[1], 0.1)  # less than nothing has no noise of its own


def test_masked_pixels_do_not_count():
    mask = np.zeros((2, 8, 8, 3), np.uint8)
    mask[0, 2, 3, 1] = 2
    got = weigh_stamps(_shard(mask=mask), DES).inverse_sigma
    assert got[0, 2, 3, 1] == 0
    assert (got > 0).sum() == got.size - 1


def test_the_psf_is_the_stamps_own_where_there_is_one():
    plain = weigh_stamps(_shard(), DES).psf
    np.testing.assert_allclose(plain["psf_fwhm"], [[1.11, 0.95, 0.88]] * 2)
    own = weigh_stamps(_shard(psf_fwhm=np.full((2, 3), 0.7, np.float32)), DES).psf
    np.testing.assert_allclose(own["psf_fwhm"], 0.7, rtol=1e-6)
    star = np.random.default_rng(0).uniform(size=(2, 3, 5, 5)).astype(np.float32)
    drawn = weigh_stamps(_shard(psf_image=star, psf_index=np.array([1, 1])), DES).psf
    np.testing.assert_array_equal(drawn["psf_image"], star[[1, 1]])
    star[0, 1] = np.nan  # a band without
    assert "psf_image" not in weigh_stamps(_shard(psf_image=star, psf_index=np.array([1, 1])), DES).psf


@pytest.mark.parametrize(
    ("theta_e", "chi2", "snr", "converged", "flag"),
    [
        (1.05, 1.0, 30.0, True, 0),
        (1.50, 1.0, 30.0, True, Flag.FIT_DISAGREES),
        (0.60, 1.0, 30.0, True, Flag.FIT_DISAGREES),
        (1.50, 2.5, 30.0, True, Flag.FIT_FAILED),
        (1.05, 1.0, 3.0, True, Flag.FIT_FAILED),
        (1.05, 1.0, 30.0, False, Flag.FIT_FAILED),
        (1.05, np.nan, 30.0, True, Flag.FIT_FAILED),
    ],
)
def test_a_fit_that_fails_or_disagrees_is_flagged(theta_e, chi2, snr, converged, flag):
    vector, sigma = np.zeros((1, len(NAMES))), np.full((1, len(NAMES)), 0.03)
    vector[0, PLACE["theta_e"]] = theta_e
    none = np.zeros((1, 3, 2))
    refined = Refined(vector, sigma, np.array([chi2]), np.array([snr]), none, none, np.array([converged]))
    network = Table({"theta_e": [1.0], "theta_e_err_lo": [0.1], "theta_e_err_hi": [0.12]})
    assert tell_refined(refined, network)["fit_flags"][0] == int(flag)
