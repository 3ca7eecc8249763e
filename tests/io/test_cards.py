from __future__ import annotations

import json
from pathlib import Path

import pytest

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.types import StampFormat
from lenspipe.io import cards
from lenspipe.io.cards import (
    check_same_stamps,
    describe_card,
    find_bundle,
    packaged_for,
    read_card,
    regressor_beside,
    sets_of,
    stamps_of,
)

CARD = {
    "task": "detector", "architecture": "a", "bands": ["g", "r"], "pixel_scale": 1, "stamp_size": 1, "targets": {},
    "weights": {"fold-0.keras": ""}, "folds": [{}], "training": {"survey": "des"}, "metrics": {},
    "calibration": {"train_prior": 0.5, "lens_prior": 1e-3, "temperature": 1.0},
}  # fmt: skip
WHOLE = json.dumps(CARD)


def test_a_card_is_whole_and_for_the_task(tmp_path):
    (tmp_path / "bundle.json").write_text(WHOLE)
    assert read_card(tmp_path, "detector")["architecture"] == "a"
    with pytest.raises(ModelMismatch, match=r"a regressor is needed, but .* is a detector"):
        read_card(tmp_path, "regressor")


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"task": "detector"}', "no json"])
def test_what_is_no_card_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=r"not a model|not a model's card"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {}}, {"weights": []}, {"weights": {"/else/fold-0.keras": ""}}, {"weights": {"../a.keras": ""}},
        {"weights": {"fold-0.h5": ""}}, {"bands": None}, {"bands": []}, {"training": None}, {"pixel_scale": "x"},
        {"pixel_scale": 0}, {"pixel_scale": float("nan")}, {"stamp_size": "76"}, {"stamp_size": 0}, {"folds": []},
        {"calibration": {}}, {"calibration": {"train_prior": 0.5, "lens_prior": 0}}, {"task": "oracle"},
        {"calibration": {"train_prior": 0.5, "lens_prior": 0.1, "temperature": 0}},
    ],
)  # fmt: skip
def test_nonsense_in_a_card_is_named_with_its_place(tmp_path, change):
    (tmp_path / "bundle.json").write_text(json.dumps({**CARD, **change}))
    (place,) = change
    with pytest.raises(InputError, match=rf"not a model's card: {place}"):
        read_card(tmp_path)


def test_a_card_tells_what_its_model_has_seen():
    assert sets_of({"training": {"data_hash": "whole"}}) == ("whole",)
    assert sets_of({"training": {"data_hash": "whole", "sets": ["a", "b"]}}) == ("a", "b")


def test_a_card_tells_its_stamps(tmp_path):
    (tmp_path / "bundle.json").write_text(WHOLE)
    assert stamps_of(read_card(tmp_path)) == StampFormat(("g", "r"), 1, 1.0)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (StampFormat(("r", "g"), 64, 0.2), "first expects bands g,r, third expects r,g"),
        (StampFormat(("g", "r"), 48, 0.2), r"first expects a stamp size \[px\] of 64, third expects 48"),
        (StampFormat(("g", "r"), 64, 0.26), r"a pixel scale \[arcsec\] of 0\.2, third expects 0\.26"),
    ],
)
def test_models_for_other_stamps_cannot_work_together(other, message):
    form = StampFormat(("g", "r"), 64, 0.2)
    alike = [("first", form), ("second", StampFormat(("g", "r"), 64, 0.2001))]
    check_same_stamps(alike)
    with pytest.raises(ModelMismatch, match=message):
        check_same_stamps([*alike, ("third", other)])


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """Three packaged models, two of them detectors of one survey."""
    for name, task, survey in (
        ("des-a", "detector", "des"), ("des-b", "detector", "des"), ("des-r", "regressor", "des")
    ):  # fmt: skip
        card = json.loads(WHOLE) | {"task": task, "training": {"survey": survey, "settings": {"epochs": 2}}}
        card |= {"metrics": {}, "seed": 3, "bands": ["g"]}
        card["weights"] = {"fold-0.keras": "a", "fold-1.keras": "b"}
        card["folds"] = [{"n_train": 1000, "train_seconds": 1800.0}] * 2
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(json.dumps(card))
    monkeypatch.setattr(cards, "packaged_models", lambda: {p.name: p for p in sorted(tmp_path.iterdir())})
    return tmp_path


def test_the_packaged_detectors_of_a_survey_are_a_committee(packaged):
    assert packaged_for("detector", "des") == ["des-a", "des-b"]
    assert packaged_for("regressor", "des") == ["des-r"]
    assert packaged_for("detector", "lsst") == []


def test_a_packaged_model_may_stand_aside_until_it_is_named(packaged):
    path = packaged / "des-a" / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"aside": True}))
    assert packaged_for("detector", "des") == ["des-b"]
    assert describe_card(read_card("des-a"))[0].endswith("used where it is named")


def test_the_regressor_beside_a_detector_sees_the_same_stamps(packaged):
    assert regressor_beside("des-a", "des") == "des-r"
    assert regressor_beside("des-a", "lsst") == ""
    path = packaged / "des-r" / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stamp_size": 2}))
    assert regressor_beside("des-a", "des") == ""


def test_a_packaged_model_is_found_by_its_name_and_a_folder_comes_first(packaged, monkeypatch):
    assert find_bundle("des-a") == packaged / "des-a"
    assert read_card("des-r", "regressor")["seed"] == 3
    with pytest.raises(InputError, match="packaged models are des-a, des-b, des-r"):
        read_card("des-x")
    (packaged / "here" / "des-a").mkdir(parents=True)
    monkeypatch.chdir(packaged / "here")
    assert find_bundle("des-a") == Path("des-a")


def test_a_card_is_told_in_words(packaged):
    card = read_card("des-a") | {"limits": ["des only"]}
    card["metrics"] = {"auroc": 0.9, "tpr_at_fpr_1e-3": 0.5, "tpr10": 0.2, "n_lens": 5, "n_nonlens": 6}
    told = "\n".join(describe_card(card))
    for words in (
        "des g, 1 px of 1 arcsec",
        "1,000 stamps, 2 epochs, 2 network(s), 1.0 h, seed 3",
        "AUROC 0.9000",
    ):
        assert words in told
    assert told.endswith("des only")
    card["folds"][0]["start"] = "des-b"
    assert "seed 3, beginning with the weights of des-b" in "\n".join(describe_card(card))


def test_every_packaged_model_has_a_whole_card():
    for name, folder in cards.packaged_models().items():
        card = read_card(folder)
        assert name.startswith(card["training"]["survey"])
        assert {"test", "limits"} <= set(card), name
        assert sum(path.stat().st_size for path in folder.iterdir()) < 60e6


def test_a_regressors_card_tells_a_line_a_target(packaged):
    card = read_card("des-r") | {"targets": {"theta_e": "arcsec"}}
    measured = {"bias": -0.01, "scatter68": 0.05, "coverage": {"0.68": 0.69}, "n_test": 1200}
    told = describe_card(card | {"metrics": {"theta_e": measured}})
    assert "theta_e: 68 % scatter 0.050, bias -0.010, 68 % intervals hold 0.69 (1,200 lenses)" in told
