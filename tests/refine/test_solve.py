import numpy as np
import pytest
from scipy.optimize import least_squares

from lenspipe.refine.parameters import NAMES, Prior, first_vector
from lenspipe.refine.solve import solve

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(3, 40, len(NAMES)))
AIM = first_vector(np.array([1.0, 1.2, 0.8])) + RNG.normal(0, 0.03, (3, len(NAMES)))
WIDE = Prior(np.zeros((3, len(NAMES))), np.full((3, len(NAMES)), np.inf))


def bent(vector, owner):
    """Residuals that are no straight lines in the parameters."""
    off = vector - AIM[owner]
    return np.einsum("npk,nk->np", MIXING[owner], off + 0.5 * off**2) + 0.1


def test_the_minimum_is_that_of_scipy():
    start = AIM + RNG.normal(0, 0.05, AIM.shape)
    got = solve(bent, start, WIDE)
    assert got.converged.all()
    for k in range(3):
        oracle = least_squares(lambda v, k=k: bent(v[None], np.array([k]))[0], start[k])
        np.testing.assert_allclose(got.chi2[k], 2 * oracle.cost, atol=0.03)
        np.testing.assert_allclose(got.curvature[k], oracle.jac.T @ oracle.jac, rtol=0.1, atol=1.0)


def test_a_problem_does_not_depend_on_the_others():
    start = AIM + 0.05
    together = solve(bent, start, WIDE)
    alone = solve(lambda v, owner: bent(v, owner + 2), start[2:], WIDE.take(np.array([2])))
    np.testing.assert_allclose(alone.vector[0], together.vector[2], rtol=1e-9)


def test_what_is_not_free_stays():
    start = AIM + 0.05
    got = solve(bent, start, WIDE, ("theta_e", "x_src"))
    held = [k for k, name in enumerate(NAMES) if name not in ("theta_e", "x_src")]
    np.testing.assert_array_equal(got.vector[:, held], start[:, held])
    assert np.all(got.chi2 < np.square(bent(start, np.arange(3))).sum(axis=1))


def test_a_prior_weighs_as_much_as_a_datum_of_its_width():
    """Of one parameter: the weighted mean of data and prior."""

    def linear(vector, owner):
        return (vector[:, :1] - 1.0) / 0.1

    prior = Prior(np.full((1, len(NAMES)), 0.5), np.full((1, len(NAMES)), 0.1))
    got = solve(linear, first_vector(np.array([0.7])), prior, ("theta_e",))
    np.testing.assert_allclose(got.vector[0, 0], 0.75, atol=1e-4)
    np.testing.assert_allclose(got.curvature[0, 0, 0], 200.0, rtol=1e-3)
    np.testing.assert_allclose(got.cost[0], 2 * 2.5**2, rtol=1e-3)


@pytest.mark.filterwarnings("error")
def test_what_tells_nothing_does_no_harm():
    got = solve(lambda v, owner: np.ones((len(v), 5)), AIM.copy(), WIDE)
    np.testing.assert_allclose(got.vector, AIM)
