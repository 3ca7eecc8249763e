import shutil
import subprocess
import sys

import keras
import pytest

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.training.bundle import load_bundle
from lenspipe.training.load import load_model


@pytest.mark.parametrize(
    ("bands", "pixel_scale", "size", "message"),
    [
        (("g", "i", "r"), 0.263, 32, r"bands g,r,i, received g,i,r"),
        (("g", "r"), 0.263, 32, r"bands g,r,i, received g,r"),
        (("g", "r", "i"), 0.2, 32, r"0\.263, received 0\.2"),
        (("g", "r", "i"), float("nan"), 32, r"received nan"),
        (("g", "r", "i"), 0.263, 64, r"32, received 64"),
    ],
)
def test_other_data_are_refused(detector, bands, pixel_scale, size, message):
    detector.check(("g", "r", "i"), 0.2631, 32)
    with pytest.raises(ModelMismatch, match=message):
        detector.check(bands, pixel_scale, size)


def test_a_missing_network_is_an_error_that_names_the_file(detector, tmp_path):
    copy = shutil.copytree(detector.path, tmp_path / "copy")
    (copy / "fold-1.keras").unlink()
    with pytest.raises(InputError, match=r"fold-1\.keras is missing"):
        load_bundle(copy)


def test_a_foreign_network_is_an_error(detector, tmp_path):
    copy = shutil.copytree(detector.path, tmp_path / "copy")
    shutil.copy(copy / "fold-0.keras", copy / "fold-1.keras")
    with pytest.raises(InputError, match=r"fold-1\.keras is not the network"):
        load_bundle(copy)


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a model bundle, or its training has not ended"):
        load_bundle(tmp_path)


def test_a_file_with_a_lambda_is_refused_before_keras_sees_it(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "evil.keras")
    with pytest.raises(InputError, match="holds Lambda"):
        load_model(tmp_path / "evil.keras")


def test_a_card_can_be_read_without_keras(detector):
    code = (
        "import sys; from lenspipe.training.bundle import load_bundle; "
        f"load_bundle({str(detector.path)!r}); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_regressor_knows_its_training_stamps_and_a_changed_memory_is_refused(regressor, tmp_path):
    assert len(regressor.familiarities()) == len(regressor.networks()) == 2
    copy = shutil.copytree(regressor.path, tmp_path / "copy")
    shutil.copy(copy / "fold-0.familiar.npz", copy / "fold-1.familiar.npz")
    with pytest.raises(InputError, match=r"fold-1.familiar.npz is not the network"):
        load_bundle(copy)
    (copy / "fold-1.familiar.npz").unlink()
    with pytest.raises(InputError, match=r"fold-1.familiar.npz is missing"):
        load_bundle(copy)


def test_a_detector_has_no_memory_of_its_stamps(detector):
    assert detector.familiarities() == []
