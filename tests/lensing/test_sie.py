"""The SIE against lenstronomy, its own symmetries and its limits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Profiles.sie import SIE

from lenspipe.lensing import sie
from tests.oracles.lenstronomy_scene import direction, sie_parameters

ON_JAX = keras.backend.backend() == "jax"  # where Keras' trigonometry is float32
float64_only = pytest.mark.skipif(ON_JAX, reason="Keras on JAX computes in float32")
RNG = np.random.default_rng(5)
X, Y = RNG.uniform(-3, 3, (2, 200))


def numpy_of(values):
    return [keras.ops.convert_to_numpy(value) for value in values]


@pytest.mark.parametrize("q", [0.2, 0.35, 0.6, 0.8, 0.95, 0.99, 0.995, 0.999])
@pytest.mark.parametrize("phi", [-71.0, 0.0, 33.0, 90.0])
def test_deflection_and_convergence_agree_with_lenstronomy(q, phi):
    parameters = sie_parameters(1.3, q, phi, 0.11, -0.07)
    mine = numpy_of(sie.deflect(X, Y, 1.3, q, phi, 0.11, -0.07))
    theirs = SIE().derivatives(X, Y, **parameters)
    size = np.hypot(*theirs)
    assert np.max(np.hypot(mine[0] - theirs[0], mine[1] - theirs[1]) / size) < (2e-6 if ON_JAX else 1e-6)

    kappa = keras.ops.convert_to_numpy(sie.converge(X, Y, 1.3, q, phi, 0.11, -0.07))
    b, core, axis_ratio, angle = SIE().profile.param_conv(
        parameters["theta_E"], parameters["e1"], parameters["e2"], 1e-10
    )
    u = np.cos(angle) * (X - 0.11) + np.sin(angle) * (Y + 0.07)
    v = -np.sin(angle) * (X - 0.11) + np.cos(angle) * (Y + 0.07)
    np.testing.assert_allclose(
        kappa, SIE().profile.nie_major_axis.kappa(u, v, b, core, axis_ratio), rtol=1e-5 if ON_JAX else 1e-6
    )


def test_the_sphere_agrees_with_lenstronomy():
    theirs = LensModel(["SIS"]).alpha(X, Y, [{"theta_E": 1.3, "center_x": 0.11, "center_y": -0.07}])
    mine = numpy_of(sie.deflect_sis(X, Y, 1.3, 0.11, -0.07))
    np.testing.assert_allclose(mine, theirs, atol=1e-6 if ON_JAX else 1e-12)


@pytest.mark.parametrize("phi", [-40.0, 0.0, 45.0, 80.0])
def test_shear_agrees_with_lenstronomy(phi):
    t = direction(phi)
    theirs = LensModel(["SHEAR"]).alpha(
        X, Y, [{"gamma1": 0.07 * np.cos(2 * t), "gamma2": 0.07 * np.sin(2 * t)}]
    )
    np.testing.assert_allclose(numpy_of(sie.shear(X, Y, 0.07, phi)), theirs, atol=1e-6 if ON_JAX else 1e-14)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 1.0), st.floats(-90, 90), st.floats(-180, 180))
def test_rotating_the_lens_rotates_the_deflection(q, phi, turn):
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    ax, ay = numpy_of(sie.deflect(X, Y, 1.1, q, phi))
    bx, by = numpy_of(sie.deflect(c * X - s * Y, s * X + c * Y, 1.1, q, phi + turn))
    np.testing.assert_allclose([bx, by], [c * ax - s * ay, s * ax + c * ay], atol=2e-6 if ON_JAX else 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-12, 1e-2))
def test_round_limit_is_the_sis_without_a_jump(flattening):
    round_ = np.array(numpy_of(sie.deflect_sis(X, Y, 1.3)))
    nearly = np.array(numpy_of(sie.deflect(X, Y, 1.3, 1.0 - flattening, 20.0)))
    assert np.max(np.abs(nearly - round_)) < 1.3 * flattening + (1e-6 if ON_JAX else 1e-12)
    np.testing.assert_allclose(
        numpy_of(sie.deflect(X, Y, 1.3, 1.0, 20.0)), round_, atol=1e-6 if ON_JAX else 1e-13
    )


@float64_only
def test_series_joins_the_closed_form():
    # where f^2 u^2 / psi^2 crosses the switch, a step would show as a kink in q
    q = np.sqrt(1.0 - 0.01) + np.linspace(-1e-6, 1e-6, 21)
    ax, _ = numpy_of(sie.deflect(np.full(21, 1.0), np.full(21, 0.0), 1.0, q, 90.0))
    assert np.max(np.abs(np.diff(ax, 2))) < 1e-11


@float64_only
@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 1.0), st.floats(-90, 90))
def test_divergence_is_twice_kappa_and_curl_is_zero(q, phi):
    h = 1e-4
    far = np.hypot(X, Y) > 0.3
    x, y = X[far], Y[far]
    (xp, yp), (xm, ym) = (numpy_of(sie.deflect(x + d, y, 1.0, q, phi)) for d in (h, -h))
    (xu, yu), (xd, yd) = (numpy_of(sie.deflect(x, y + d, 1.0, q, phi)) for d in (h, -h))
    kappa = keras.ops.convert_to_numpy(sie.converge(x, y, 1.0, q, phi))
    np.testing.assert_allclose((xp - xm + yu - yd) / (2 * h), 2 * kappa, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((yp - ym - xu + xd) / (2 * h), 0.0, atol=1e-5)


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_finite_at_the_centre(q):
    zero = np.zeros(1, np.float32)
    assert np.all(np.array(numpy_of(sie.deflect(zero, zero, 1.0, q, 10.0))) == 0.0)
    assert np.isfinite(keras.ops.convert_to_numpy(sie.converge(zero, zero, 1.0, q, 10.0))).all()
    assert np.all(np.array(numpy_of(sie.deflect_sis(zero, zero, 1.0))) == 0.0)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=float64_only)])
def test_dtype_is_the_arrays_and_mixtures_are_refused(dtype):
    x = X.astype(dtype)
    for value in (
        *sie.deflect(x, x, 1.0, np.float64(0.7), 3),
        sie.converge(x, x, 1.0, 0.7, 3),
        *sie.shear(x, x, 0.1, 3),
    ):
        assert keras.backend.standardize_dtype(value.dtype) == dtype
    with pytest.raises(TypeError, match="float16 and float"):
        sie.deflect(x, X.astype("float16"), 1.0, 0.7, 0.0)


@float64_only
@pytest.mark.parametrize("q", [0.5, 0.996, 1.0])
def test_gradients_are_right(q):
    """Gradients in q on both sides of the series' switch, on the axes and at the centre."""
    x, y = np.array([0.0, 1.0, 0.0, 0.4]), np.array([0.0, 0.0, 1.0, -0.3])
    gradient = gradient_of(lambda value: sie.deflect(x, y, 1.0, value, 15.0)[0], np.full(4, q))
    h = 1e-6
    plus, minus = (numpy_of(sie.deflect(x, y, 1.0, q + d, 15.0))[0] for d in (0.0 if q == 1.0 else h, -h))
    expected = (plus - minus) / (h if q == 1.0 else 2 * h)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def gradient_of(function, value):
    """Return d sum(function) / d value."""
    import tensorflow as tf

    tensor = tf.constant(value)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = tf.reduce_sum(function(tensor))
    return tape.gradient(total, tensor).numpy()
