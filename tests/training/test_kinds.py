import keras
import numpy as np
import pytest

from lenspipe.networks.registry import build_network
from lenspipe.training.datasets import load_stamps
from lenspipe.training.kinds import SHARE, TaughtCrossentropy, label_kinds, lens_accuracy, teach_kinds
from lenspipe.training.worker import run_fold


def numbers(values):
    return keras.ops.convert_to_numpy(values)


def test_the_kinds_are_those_of_the_training_stamps(data):
    stamps = load_stamps(data)
    kinds = np.asarray(stamps.truth["kind"], str)
    rows = np.arange(len(stamps))
    labels = label_kinds(stamps, rows)
    np.testing.assert_array_equal(labels.argmax(axis=1), np.searchsorted(["disc", "lens", "spiral"], kinds))
    assert label_kinds(stamps, rows[kinds != "disc"]) is None  # the label says as much
    # what people graded as no lens is of a kind that nobody knows
    stamps.truth["kind"] = np.where(kinds == "disc", "graded_nonlens", np.where(rows < 5, "ring", kinds))
    labels = label_kinds(stamps, rows)
    assert labels.shape == (64, 3)
    np.testing.assert_array_equal(
        labels.sum(axis=1) == 0, np.asarray(stamps.truth["kind"]) == "graded_nonlens"
    )


def test_the_taught_network_is_the_detector_and_the_kinds():
    model = build_network("detector", "swift", 40, 3, dropout=0.0, seed=1)
    learner = teach_kinds(model, 4, seed=1)
    rng = np.random.default_rng(0)
    stamps = {"image": rng.normal(size=(8, 40, 40, 3)).astype("f4"), "noise_sigma": np.ones((8, 3), "f4")}
    whole, alone = (network.predict(stamps, verbose=0) for network in (learner, model))
    np.testing.assert_allclose(whole[:, :2], alone, rtol=1e-5)
    np.testing.assert_allclose(whole[:, 2:].sum(axis=1), 1.0, rtol=1e-5)
    learner.compile(keras.optimizers.SGD(1.0), loss=TaughtCrossentropy())
    truth = np.concatenate([np.eye(2)[[0, 1] * 4], np.eye(4)[[0, 1, 2, 3] * 2]], axis=1)
    learner.train_on_batch(stamps, truth)
    assert np.abs(model.predict(stamps, verbose=0) - alone).max() > 1e-4  # they share their weights
    np.testing.assert_allclose(
        learner.predict(stamps, verbose=0)[:, :2], model.predict(stamps, verbose=0), rtol=1e-5
    )


def test_the_loss_is_that_of_the_label_and_a_share_of_that_of_the_kinds():
    said = np.array([[0.9, 0.1, 0.2, 0.5, 0.3], [0.4, 0.6, 0.7, 0.2, 0.1]])
    truth = np.array([[1.0, 0, 0, 1, 0], [1, 0, 0, 0, 0]])  # of the second the kind is not known
    loss = numbers(TaughtCrossentropy().call(truth, said))
    np.testing.assert_allclose(loss, [-np.log(0.9) - SHARE * np.log(0.5), -np.log(0.4)], rtol=1e-6)
    smooth = numbers(TaughtCrossentropy(label_smoothing=0.2).call(truth[:, :2], said[:, :2]))
    np.testing.assert_allclose(smooth[0], -0.9 * np.log(0.9) - 0.1 * np.log(0.1), rtol=1e-6)
    np.testing.assert_array_equal(numbers(lens_accuracy(truth, said)), [1, 0])


@pytest.mark.slow
def test_what_is_saved_of_a_taught_network_is_a_detector(data, tmp_path, new_job):
    """Its loss is told without that of the kinds, as the validation's; without kinds it is another training."""
    results = {}
    for kinds in (True, False):
        folder = tmp_path / str(kinds)
        results[kinds] = run_fold(new_job("detector", data, folder, kinds=kinds))
        size = keras.saving.load_model(folder / "fold-0.keras", compile=False).count_params()
        results[kinds] |= {"size": size}
    assert results[True]["size"] == results[False]["size"]
    assert results[True]["weights_hash"] != results[False]["weights_hash"]
    for result in results.values():
        assert set(result["last_epoch"]) == {"fold", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
        assert result["last_epoch"]["loss"] < 1.2
