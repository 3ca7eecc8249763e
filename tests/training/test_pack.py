import json

import h5py
import numpy as np
import pytest

from lenspipe.core.errors import InputError
from lenspipe.io.files import write_json
from lenspipe.training import pack
from lenspipe.training.datasets import load_stamps
from lenspipe.training.pack import halve_weights, pack_bundle, read_figures
from lenspipe.training.posterior import sample_posteriors
from lenspipe.training.scores import score_stamps


@pytest.mark.slow
def test_a_packed_detector_is_half_as_large_and_says_the_same(detector, data, tmp_path):
    packed = pack_bundle(detector.path, tmp_path / "small", "toy", facts={"limits": ["toys only"]})
    stamps = load_stamps(data)
    whole, half = (score_stamps(b, stamps.image, stamps.noise_sigma, 5) for b in (detector, packed))
    np.testing.assert_allclose(half.score, whole.score, atol=5e-3)
    sizes = [sum(path.stat().st_size for path in b.weights) for b in (detector, packed)]
    assert sizes[1] < 0.75 * sizes[0]  # the rest is layout, much of a toy
    assert packed.card["limits"] == ["toys only"]
    assert {fold["data"] for fold in packed.card["folds"]} == {data.name}
    assert packed.card["packed"] == {"dtype": "float16", "folds": [0, 1]}
    assert packed.card["metrics"] == json.loads(json.dumps(detector.metrics))
    with pytest.raises(InputError, match="another folder"):
        pack_bundle(detector.path, tmp_path / "small")


@pytest.mark.slow
def test_what_half_precision_changes_is_refused_and_leaves_no_model(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "_SAME", 0.0)
    with pytest.raises(InputError, match="changes its answers"):
        pack_bundle(detector.path, tmp_path / "small")
    assert not (tmp_path / "small" / "bundle.json").exists()


@pytest.mark.slow
def test_one_network_of_a_regressor(regressor, data, tmp_path):
    packed = pack_bundle(regressor.path, tmp_path / "one", folds=[1])
    stamps = load_stamps(data, lenses_only=True)
    found = sample_posteriors(packed, stamps.image, stamps.noise_sigma, 4)
    assert len(packed.weights) == 1
    assert np.isfinite(found["theta_e"].median).all()
    with pytest.raises(InputError, match="folds 0 to 1"):
        pack_bundle(regressor.path, tmp_path / "none", folds=[2])


def spoil(group):
    """Set the weights of a file to what float16 cannot hold."""
    for item in group.values():
        if isinstance(item, h5py.Dataset):
            item[...] = 1e6
        else:
            spoil(item)


@pytest.mark.slow
def test_weights_too_large_for_half_precision_are_refused(detector, tmp_path):
    import zipfile

    broken = tmp_path / "broken.keras"
    with zipfile.ZipFile(detector.weights[0]) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "model.weights.h5":
                (tmp_path / "w.h5").write_bytes(content)
                with h5py.File(tmp_path / "w.h5", "r+") as file:
                    spoil(file)
                content = (tmp_path / "w.h5").read_bytes()
            new.writestr(name, content)
    with pytest.raises(InputError, match="half precision cannot hold"):
        halve_weights(broken, tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_a_card_tells_the_figures_of_its_test_set(tmp_path):
    write_json(tmp_path / "metrics.json", {"auroc": 0.9, "auroc_err": 0.01, "data": "a set", "folds": [1]})
    assert read_figures(tmp_path) == {"auroc": 0.9, "auroc_err": 0.01, "data": "a set"}
    with pytest.raises(InputError, match="no metrics"):
        read_figures(tmp_path / "none")


def test_figures_of_a_regressor_are_those_of_each_target(tmp_path):
    told = {"bias": 0.01, "scatter68": 0.1, "outlier_frac": 0.0, "coverage": {"0.68": 0.7}, "n_test": 50}
    write_json(
        tmp_path / "metrics.json", {"theta_e": {**told, "against": {}}, "data": "50 stamps", "seen": False}
    )
    assert read_figures(tmp_path) == {"data": "50 stamps", "seen": False, "theta_e": told}
