import dataclasses
import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from support import small_swift

from lenspipe.core.errors import InputError
from lenspipe.io.files import digest, write_json
from lenspipe.networks.registry import build_network
from lenspipe.training.bundle import load_bundle
from lenspipe.training.load import check_shapes, load_model, load_network, save_model


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "good.keras"
    save_model(small_swift(40, 2, channels=("noise",), crop=32), path)
    return path


def _changed(good, folder, name, change):
    """Return a copy of a network with one member of its archive changed (or, by None, taken out)."""
    path = folder / "bad.keras"
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(path, "w") as out:
        for member in archive.namelist():
            content = archive.read(member)
            content = change(content) if member == name else content
            if content is not None:
                out.writestr(member, content)
    return path


def test_what_was_not_changed_is_loaded(good, tmp_path):
    (rates,) = load_network(_changed(good, tmp_path, "", None), "fold-0").mask_rates.values()
    np.testing.assert_array_equal(rates, np.full(8, 0.1))


def _drop_weights(content):
    import io

    buffer = io.BytesIO(content)
    with h5py.File(buffer, "a") as weights:
        del weights["layers/functional/layers/conv2d"]
    return buffer.getvalue()


def _other_shape(content):
    return content.replace(b'"filters": 4', b'"filters": 5')


def _with_module(content):
    return content.replace(b'"class_name": "Stretch"', b'"class_name": "os>Stretch"')


TAMPERED = {
    "no configuration": ("config.json", lambda content: None, "is not a Keras network"),
    "a configuration of something else": ("config.json", lambda content: b"[3]", "cannot be loaded"),
    "a list of members cut off": ("config.json", lambda content: content[:-40], "is not a Keras network"),
    "an unknown class": (
        "config.json",
        lambda content: content.replace(b'"class_name": "ReLU"', b'"class_name": "Evil"'),
        "holds Evil, which no lenspipe network has",
    ),
    "a foreign registered name": ("config.json", _with_module, "holds os>Stretch"),
    "other shapes than its weights": ("config.json", _other_shape, "cannot be loaded"),
    "no weights": ("model.weights.h5", lambda content: None, "cannot be loaded"),
    "weights cut off": ("model.weights.h5", lambda content: content[: len(content) // 2], "cannot be loaded"),
    "weights of one layer missing": ("model.weights.h5", _drop_weights, "cannot be loaded"),
    "no head": (
        "config.json",
        lambda content: content.replace(b'"head"', b'"feet"'),
        "cannot be split into trunk and head",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_network_is_refused_by_name(good, tmp_path, case):
    path = _changed(good, tmp_path, *TAMPERED[case][:2])
    with pytest.raises(InputError, match=TAMPERED[case][2]) as caught:
        load_network(path, "fold-0")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_file_is_refused_by_name(good, tmp_path):
    path = tmp_path / "bad.keras"
    with pytest.raises(InputError, match=r"bad\.keras is missing"):
        load_network(path, "fold-0")
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.keras cannot be loaded.*CRC"):
        load_network(path, "fold-0")


def test_any_other_keras_model_is_refused(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"other\.keras is not a network of lenspipe"):
        load_network(tmp_path / "other.keras", "fold-0")


@pytest.mark.parametrize(
    ("task", "size", "bands", "message"),
    [
        ("detector", 40, 3, r"\(40, 40, 3\).*says.*\(32, 32, 3\)"),
        ("detector", 32, 2, r"\(32, 32, 2\).*says.*\(32, 32, 3\)"),
        ("regressor", 32, 3, r"gives \(4, 2\).*\(2,\)"),
    ],
)
def test_a_network_for_other_stamps_is_refused_even_with_a_card_that_vouches_for_it(
    detector, tmp_path, task, size, bands, message
):
    copy = shutil.copytree(detector.path, tmp_path / "copy")
    name = {"detector": "inception_detector", "regressor": "inception"}[task]
    save_model(build_network(task, name, size, bands), copy / "fold-1.keras")
    card = json.loads((copy / "bundle.json").read_text())
    card["weights"]["fold-1.keras"] = digest(copy / "fold-1.keras")
    write_json(copy / "bundle.json", card)
    bundle = load_bundle(copy)
    with pytest.raises(InputError, match=rf"fold-1\.keras takes.*{message}"):
        bundle.networks()
    assert dataclasses.replace(bundle, weights=bundle.weights[:1]).networks()


@pytest.mark.parametrize(("channels", "told"), [((), ("mask",)), (("mask",), ())])
def test_a_network_that_sees_masks_or_not_as_its_card_does_not_say_is_refused(tmp_path, channels, told):
    save_model(small_swift(32, 2, channels=channels), tmp_path / "fold-0.keras")
    network = load_network(tmp_path / "fold-0.keras", "fold-0")
    check_shapes(network, tmp_path, 32, 2, (2,), needs_mask="mask" in channels)
    with pytest.raises(InputError, match=r"takes .* and gives .* but its bundle\.json says"):
        check_shapes(network, tmp_path, 32, 2, (2,), needs_mask="mask" in told)


def test_a_file_that_keras_would_read_as_something_else_is_refused(detector, tmp_path):
    shutil.copy(detector.weights[0], tmp_path / "fold-0.h5")
    with pytest.raises(
        InputError, match=r"fold-0\.h5 is not a Keras network: its name does not end in \.keras"
    ):
        load_model(tmp_path / "fold-0.h5")


def test_a_config_too_deep_to_read_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match=r"deep\.keras is not a Keras network"):
        load_model(tmp_path / "deep.keras")
