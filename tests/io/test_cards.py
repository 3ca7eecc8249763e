from __future__ import annotations

import pytest

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.io.cards import read_card

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
