"""A mosaic of candidates: who is in it, where, and with which words."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.report.mosaic import draw_mosaic, write_mosaic
from lenspipe.report.stamps import bar_length, choose_rgb


def candidates(count, **columns):
    names = [f"LP J0{k}" for k in range(count)]
    return Table({"name": names, "score": np.linspace(1.0, 0.5, count), **columns})


def mosaic(table, **options):
    rng = np.random.default_rng(1)
    stamps = rng.normal(0.0, 10.0, (len(table), 24, 24, 3)).astype(np.float32)
    return draw_mosaic(table, stamps, np.full((len(table), 3), 10.0), (2, 1, 0), **options)


def words(figure):
    return [[text.get_text() for text in ax.texts] for ax in figure.axes]


def test_stamps_stand_in_order_row_by_row():
    figure = mosaic(candidates(5), columns=3)
    places = [ax.get_position() for ax in figure.axes]
    assert len(places) == 5
    assert [place.x0 for place in places] == pytest.approx([0, 1 / 3, 2 / 3, 0, 1 / 3])
    height = 1.15 / (1.15 + 0.36)
    assert [place.y0 for place in places] == pytest.approx([1 - height / 2] * 3 + [0.5 - height / 2] * 2)
    assert all(place.x1 <= 1 and place.y1 <= 1 for place in places)
    assert [texts[0] for texts in words(figure)] == [f"LP J0{k}" for k in range(5)]
    assert all(len(ax.images) == 1 for ax in figure.axes)


def test_labels_tell_what_is_known():
    table = candidates(2, theta_e=[1.234, np.nan], theta_e_err_lo=[0.1, np.nan], theta_e_err_hi=[0.2, np.nan])
    first, second = words(mosaic(table))
    assert first[1] == r"1.000,  $\theta_\mathrm{E} = 1.23^{+0.20}_{-0.10}$″"
    assert second[1] == "0.500"
    nameless = Table({"object_id": ["cost $5"]})
    assert words(mosaic(nameless))[0] == [r"cost \$5", ""]


def test_rings_have_their_radius_and_the_bar_its_length():
    table = candidates(2, theta_e=[1.5, np.nan])
    figure = mosaic(table, pixel_scale=0.25, rings=True)
    ring, bar = figure.axes[0].lines
    x, y = ring.get_data()
    assert np.hypot(np.asarray(x) - 11.5, np.asarray(y) - 11.5) == pytest.approx(6.0)
    assert np.ptp(bar.get_xdata()) * 0.25 == pytest.approx(2.0)  # of a stamp of 6 arcsec
    assert figure.axes[0].texts[-1].get_text() == "2″"
    assert not figure.axes[1].lines
    wide = mosaic(candidates(1, theta_e=[9.0]), pixel_scale=0.25, rings=True).axes[0]
    assert wide.get_xlim() == (-0.5, 23.5)  # a ring beyond the stamp does not shrink it
    assert not mosaic(table, rings=True).axes[0].lines  # without a pixel scale neither


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_files_are_the_same_each_time(tmp_path, suffix):
    contents = []
    for name in ("one", "other"):
        path = tmp_path / f"{name}.{suffix}"
        write_mosaic(mosaic(candidates(2)), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[suffix])
    if suffix == "svg":
        assert b"LP J01" in contents[0]  # letters stay letters


def test_bands_and_bars_are_those_of_the_page():
    assert choose_rgb(("g", "r", "i"), ("i", "r", "g")) == [2, 1, 0]
    assert choose_rgb(("i",), ("i", "r", "g")) == [0, 0, 0]  # grey
    assert [bar_length(side) for side in (20.0, 6.0, 0.2, np.nan)] == [5, 2, None, None]
