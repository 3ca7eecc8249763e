from __future__ import annotations

import pytest

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.types import StampFormat
from lenspipe.io.cards import check_same_stamps, read_card, stamps_of

WHOLE = (
    '{"task": "detector", "architecture": "a", "bands": [], "pixel_scale": 1, "stamp_size": 1, "targets": {}, '
    '"weights": {}, "folds": [], "training": {}, "calibration": {}, "metrics": {}}'
)


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


def test_a_card_tells_its_stamps(tmp_path):
    (tmp_path / "bundle.json").write_text(WHOLE.replace('"bands": []', '"bands": ["g", "r"]'))
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
