"""Ray shooting against lenstronomy."""

from __future__ import annotations

import keras
import numpy as np
from lenstronomy.LensModel.lens_model import LensModel

from lenspipe.lensing.raytrace import Deflector, shoot
from tests.oracles.lenstronomy_scene import direction, sie_parameters


def test_agrees_with_lenstronomy_on_a_batch():
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-3, 3, (2, 50))
    q, phi, shift = rng.uniform(0.3, 0.99, 4), rng.uniform(-90, 90, 4), rng.uniform(-0.2, 0.2, (2, 4))
    gamma, phi_ext = rng.uniform(0, 0.1, 4), rng.uniform(-90, 90, 4)
    columns = [np.full(4, 1.2), q, phi, *shift, gamma, phi_ext]
    mine = shoot(x[None], y[None], Deflector(*(column[:, None] for column in columns)))
    mine = [keras.ops.convert_to_numpy(value) for value in mine]
    lens = LensModel(["SIE", "SHEAR"])
    for i in range(4):
        t = direction(phi_ext[i])
        shear = {"gamma1": gamma[i] * np.cos(2 * t), "gamma2": gamma[i] * np.sin(2 * t)}
        theirs = lens.ray_shooting(x, y, [sie_parameters(1.2, q[i], phi[i], *shift[:, i]), shear])
        np.testing.assert_allclose([mine[0][i], mine[1][i]], theirs, atol=1e-6)


def test_nothing_bends_without_a_lens():
    x = np.linspace(-1, 1, 5)
    beta = shoot(x, -x, Deflector(0.0, 0.7, 12.0, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(beta[0]), x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(beta[1]), -x)
