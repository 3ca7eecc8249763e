from __future__ import annotations

import keras
import numpy as np
import pytest

from lenspipe.training.checkpoint import State, load_checkpoint, save_checkpoint


@pytest.fixture
def model():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    network.compile("adam", "mse")
    return network


@pytest.fixture
def state():
    return State(np.arange(5.0), 3, [{"epoch": 3}], [np.ones(2)], 12.5)


def test_a_state_comes_back_with_weights_and_optimizer(model, state, tmp_path):
    model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
    path = tmp_path / "fold-0.checkpoint.npz"
    save_checkpoint(path, "key", model, state)
    before = [np.asarray(v) for v in (*model.weights, *model.optimizer.variables)]
    model.fit(np.ones((8, 3)), np.zeros((8, 2)), verbose=0)
    found = load_checkpoint(path, "key", model)
    assert (found.epoch, found.history, found.seconds) == (3, [{"epoch": 3}], 12.5)
    np.testing.assert_array_equal(found.hardness, state.hardness)
    for value, variable in zip(before, (*model.weights, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(value, variable)


def test_a_checkpoint_of_another_job_is_put_aside(model, state, tmp_path):
    path = tmp_path / "fold-0.checkpoint.npz"
    save_checkpoint(path, "one", model, state)
    weights = model.get_weights()
    assert load_checkpoint(path, "two", model) is None
    save_checkpoint(path, "two", model, State(np.zeros(5)))
    (tmp_path / "fold-0.checkpoint.one.npz").replace(path)
    assert load_checkpoint(path, "one", model).epoch == 3
    for mine, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_checkpoint_is_put_aside_and_leaves_the_weights(model, state, tmp_path, share):
    path = tmp_path / "fold-0.checkpoint.npz"
    save_checkpoint(path, "one", model, state)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    weights = model.get_weights()
    assert load_checkpoint(path, "one", model) is None
    assert [file.name for file in tmp_path.iterdir()] == ["fold-0.checkpoint.damaged.npz"]
    for mine, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
