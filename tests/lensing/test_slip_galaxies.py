from __future__ import annotations

import numpy as np
import pytest
from slip_samples import POWER_LAW, draw

from lenspipe.lensing import slip_galaxies
from lenspipe.lensing.slip_galaxies import gather_factors, structures
from lenspipe.lensing.slip_model import log_likelihood, predict
from lenspipe.lensing.slip_table import read_columns

ERRORS = np.array([0.1, 0.001, 0.02, 0.3, 0.05, 0.1])


def structure(count, scatter=1.0):
    usual = {"alpha": (2.0, 0.08), "beta": (0.18, 0.13), "delta": (2.4, 0.11)}
    return {
        name: (np.full(count, mean), np.full(count, scatter * width)) for name, (mean, width) in usual.items()
    }


def test_weights_sum_to_one_and_keep_the_mean():
    reach = np.linspace(-0.5, 0.5, len(ERRORS))
    values, weight = gather_factors(structure(len(ERRORS)), reach, np.ones(len(ERRORS), bool), ERRORS)
    assert values.shape == weight.shape
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    single = [
        gather_factors(structure(1), reach[k : k + 1], np.ones(1, bool), ERRORS[k : k + 1])
        for k in range(len(ERRORS))
    ]
    means = [float(np.sum(v * w)) for v, w in single]
    np.testing.assert_allclose(np.sum(values * weight, axis=1), means, atol=1e-3)
    assert single[1][0].shape[1] > 5 * single[3][0].shape[1]  # small errors ask for close galaxies


def test_a_galaxy_without_scatter_is_one():
    nodes, weight = structures(structure(3, scatter=0.0), (1, 1, 1))
    assert [n.shape for n in nodes] == [(1, 1)] * 3
    np.testing.assert_allclose(weight, 1.0)


def test_lenses_in_parts_and_in_any_order_are_what_they_are_alone(monkeypatch):
    """Many lenses of tiny errors would not fit into memory together: they are taken in parts."""
    data = read_columns(draw(40, 1.0, seed=1))
    data["sigma_v_err"] = np.resize(ERRORS, 40) * data["sigma_v"]
    gammas = [0.7, 1.0, 1.3]
    alone = [
        log_likelihood(predict({k: v[n : n + 1] for k, v in data.items()}, POWER_LAW), gammas)[0]
        for n in range(40)
    ]
    seen, whole = [], slip_galaxies._factors
    monkeypatch.setattr(slip_galaxies, "_AT_ONCE", 2000)
    monkeypatch.setattr(
        slip_galaxies, "_factors", lambda n, w, *rest: seen.append(len(rest[0])) or whole(n, w, *rest)
    )
    parts = log_likelihood(predict(data, POWER_LAW), gammas)
    assert sum(seen) == 40
    assert len(seen) > 10
    likely = np.array(alone) > -12
    wrong = (parts - np.array(alone))[likely]
    assert np.abs(wrong).max() < 0.05
    assert abs(wrong.mean()) < 0.003  # nor do they lean to one side, which a sample would add up


@pytest.mark.parametrize("error", [0.1, 0.001])
def test_arrays_stay_small_whatever_the_errors_are(error, monkeypatch):
    most = []
    whole = slip_galaxies._factors
    monkeypatch.setattr(
        slip_galaxies, "_factors", lambda n, w, r, s: most.append(w.size * len(r)) or whole(n, w, r, s)
    )
    count = 400
    gather_factors(structure(count), np.zeros(count), np.ones(count, bool), np.full(count, error))
    assert max(most) <= slip_galaxies._AT_ONCE
