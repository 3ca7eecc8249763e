import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.refine.parameters import (
    NAMES,
    PLACE,
    STEPS,
    default_prior,
    first_vector,
    hold_in_range,
    make_scene,
    shape_of,
    shear_of,
)
from lenspipe.training.targets import true_values


@given(st.floats(0.12, 0.999), st.floats(-89.9, 90.0))
def test_shapes_come_back_from_ellipticities(q, phi):
    truth = {"q": np.array([q]), "phi": np.array([phi])}
    found_q, found_phi = shape_of(true_values(truth, "e1"), true_values(truth, "e2"))
    np.testing.assert_allclose(found_q, q, rtol=1e-9)
    if q < 0.99:
        turn = (found_phi - phi + 90) % 180 - 90
        np.testing.assert_allclose(turn, 0, atol=1e-6)
    assert -90 < found_phi[0] <= 90


def test_shear_components_are_the_contracts():
    """gamma_1 = gamma cos 2t, gamma_2 = gamma sin 2t, t from +x; directions in tables count from +y."""
    gamma, phi = shear_of(np.array([0.1, 0.0, -0.1]), np.array([0.0, 0.1, 0.0]))
    np.testing.assert_allclose(gamma, 0.1)
    np.testing.assert_allclose(phi, [90.0, -45.0, 0.0], atol=1e-9)


def test_there_is_a_step_for_each_parameter():
    assert STEPS.shape == (len(NAMES),)
    assert np.all(STEPS > 0)


def test_what_cannot_be_drawn_is_brought_back_and_the_rest_left():
    vector = first_vector(np.array([1.0, 1.0]))
    vector[0, [PLACE["e1"], PLACE["e2"]]] = 3.0, 4.0
    vector[0, PLACE["n_lens"]], vector[0, PLACE["theta_e"]] = 9.0, -1.0
    held = hold_in_range(vector)
    np.testing.assert_allclose(held[0, [PLACE["e1"], PLACE["e2"]]], [0.48, 0.64])
    assert held[0, PLACE["n_lens"]] == 5.9
    assert held[0, PLACE["theta_e"]] > 0
    np.testing.assert_array_equal(held[1], vector[1])


def test_the_prior_of_theta_e_is_wider_than_the_networks_word():
    prior = default_prior(np.array([1.2, 0.8]), np.array([0.1, 0.001]))
    k = PLACE["theta_e"]
    np.testing.assert_allclose(prior.mean[:, k], [1.2, 0.8])
    np.testing.assert_allclose(prior.sigma[:, k], [0.3, 0.08])
    np.testing.assert_allclose(prior.misfit(prior.mean + prior.sigma), 1.0)
    assert prior.take(np.array([1])).mean[0, k] == 0.8


def test_a_scene_has_the_source_beside_the_lens_wherever_that_is():
    vector = first_vector(np.array([1.0]))
    vector[0, PLACE["x_lens"]], vector[0, PLACE["x_src"]], vector[0, PLACE["light_e1"]] = 0.3, 0.2, 0.25
    scene = make_scene(vector, {"psf_fwhm": np.ones((1, 2)), "psf_beta": np.full((1, 2), np.inf)})
    assert scene.source.x[0, 0] == 0.5
    assert scene.light.flux.shape == (1, 1, 2)
    np.testing.assert_allclose([scene.light.q[0, 0], scene.light.phi[0, 0]], [0.6, 90.0])
