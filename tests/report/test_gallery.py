"""The gallery: a row a kind, lenses first."""

from __future__ import annotations

import io

import numpy as np

from lenspipe.report.gallery import draw_gallery


def test_gallery_has_a_row_for_each_kind_lenses_first():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (7, 20, 20, 3))
    kinds = ["spiral", "lens", "ring", "lens", "lens", "edge_on", "ring"]
    figure = draw_gallery(image, np.ones((7, 3)), kinds, (2, 1, 0), each=2)
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert words == ["lens", "edge on", "ring", "spiral"]
    assert len(figure.axes) == 8
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 0, 1, 1, 1, 0]
    figure.savefig(io.BytesIO(), format="png")
