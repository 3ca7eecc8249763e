import keras
import numpy as np
import pytest

from lenspipe.training.muon import ConvMuon
from lenspipe.training.precision import dtype_policy


def step_of(shape, name="conv"):
    """The first step that a variable is moved by, at a rate of 0.01 and without decay."""
    rng = np.random.default_rng(0)
    variable = keras.Variable(rng.normal(size=shape), name=name, dtype="float32")
    before, gradient = keras.ops.convert_to_numpy(variable), rng.normal(size=shape).astype("f4")
    optimizer = ConvMuon(0.01, weight_decay=0.0, adam_weight_decay=0.0)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return before - keras.ops.convert_to_numpy(variable), gradient


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("shape", [(3, 3, 8, 24), (3, 3, 1, 16), (1, 1, 32, 8), (20, 12)])
def test_the_step_of_a_kernel_is_orthogonal_along_its_momentum(shape, policy):
    with dtype_policy(policy):
        step, gradient = (values.reshape(-1, shape[-1]) for values in step_of(shape))
    u, size, v = np.linalg.svd(step, full_matrices=False)
    expected = 0.01 * 0.2 * np.sqrt(max(step.shape))
    assert np.all((size > 0.6 * expected) & (size < 1.25 * expected))  # what five of Keras' iterations give
    polar = np.linalg.svd(gradient, full_matrices=False)
    np.testing.assert_allclose(u @ v, polar[0] @ polar[2], atol=0.05)


@pytest.mark.parametrize(
    ("shape", "name"), [((24,), "bias"), ((24, 2), "probabilities"), ((24, 14), "kinds")]
)
def test_outputs_and_biases_are_moved_by_adam(shape, name):
    step, gradient = step_of(shape, name)
    np.testing.assert_allclose(step, 0.01 * np.sign(gradient), rtol=1e-2)
