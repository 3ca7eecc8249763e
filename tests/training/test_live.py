import keras
import numpy as np
import pytest

from lenspipe.config import SimulateSection, config_from, to_toml
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.io.shards import Shard, write_shard
from lenspipe.io.tables import write_table
from lenspipe.simulate.scene import simulate_stamps
from lenspipe.training.datasets import load_stamps
from lenspipe.training.live import LiveTrainer, pack_stamps
from lenspipe.training.worker import run_fold


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated set of 32 stamps of 40 px with the settings that made it."""
    folder, survey = tmp_path_factory.mktemp("live"), load_survey("des")
    bands = survey.model_bands
    image, noise, truth = simulate_stamps(survey, 4, range(32), SimulateSection(), bands, 40)
    truth["shard"], truth["row"] = 0, range(32)
    write_shard(folder / "shard-00000.h5", Shard(image, noise, bands, survey.pixel_scale, "des", 4))
    write_table(truth, folder / "truth.parquet")
    recipe = config_from({"survey": "des", "run": {"seed": 4}, "simulate": {"count": 32, "size": 40}})
    (folder / "config.toml").write_text(to_toml(recipe))
    return folder


def test_the_network_behind_is_the_network_itself(simulated):
    stamps = load_stamps(simulated)
    scenes = pack_stamps(stamps, np.arange(8))
    shapes = {"image": (40, 40, 3), "noise_sigma": (3,)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    brightness = keras.layers.GlobalAveragePooling2D()(inputs["image"])
    network = keras.Model(inputs, keras.layers.Dense(2)(brightness))
    learner = LiveTrainer(network, scenes, 1.0, seed=1, batch=8)
    out = learner({name: values[:8] for name, values in scenes.arrays.items()})
    assert out.shape == (8, 2)
    assert [id(v) for v in learner.trainable_variables] == [id(v) for v in network.trainable_variables]
    mean = network.layers[-1]
    mean.set_weights([np.eye(3, 2, dtype="f4"), np.zeros(2, "f4")])
    drawn = keras.ops.convert_to_numpy(learner({name: v[:8] for name, v in scenes.arrays.items()}))
    clean = np.asarray(stamps.truth["kind"][:8], str) == "lens"  # of the others some have cosmic rays
    noise = stamps.noise_sigma[:8, :2] / 40
    assert np.all(np.abs(drawn - stamps.image[:8].mean(axis=(1, 2))[:, :2])[clean] < 12 * noise[clean])


@pytest.mark.slow
def test_a_live_training_runs_and_repeats(simulated, tmp_path, new_job):
    results = []
    for name in "ab":
        job = new_job("detector", simulated, tmp_path / name, live=True, epochs=2, batch_size=8)
        results.append(run_fold(job))
    assert results[0]["weights_hash"] == results[1]["weights_hash"]
    assert np.isfinite(results[0]["last_epoch"]["val_loss"])


@pytest.mark.slow
def test_a_set_smaller_than_a_batch_is_one_batch(simulated, tmp_path, new_job):
    job = new_job("detector", simulated, tmp_path, live=True, epochs=1, batch_size=64)
    assert run_fold(job)["n_train"] < 64


def test_a_set_that_its_truth_does_not_make_is_refused(simulated):
    stamps = load_stamps(simulated)
    stamps.image[0, 20, 20, 1] += 1e4
    with pytest.raises(InputError, match=r"stamp 0 drawn again .* made by another version"):
        pack_stamps(stamps, np.arange(8))


def test_a_set_without_its_settings_cannot_be_drawn(data):
    with pytest.raises(InputError, match=r"no config\.toml there or above"):
        pack_stamps(load_stamps(data), np.arange(8))
