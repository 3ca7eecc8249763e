import numpy as np
import pytest
from astropy.table import Table, vstack

from lenspipe.catalog.footprint import searched_area
from lenspipe.core.schema import Flag


def tile(name, ra, dec, side=0.5, n=600, seed=0, turn=0.0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-side / 2, side / 2, (2, n))
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    lon = (ra + x / np.cos(np.radians(dec))) % 360
    return Table({"ra": lon, "dec": dec + y, "tile": np.full(n, name), "flags": np.zeros(n, int)})


@pytest.mark.parametrize(("ra", "dec", "turn"), [(150.0, 0.0, 0.0), (0.01, -60.0, 0.0), (359.9, 45.0, 0.6)])
def test_the_area_of_a_tile_is_that_of_its_objects(ra, dec, turn):
    got = [searched_area(tile("a", ra, dec, seed=seed, turn=turn)) for seed in range(20)]
    assert np.mean(got) == pytest.approx(0.25, rel=0.02)
    assert np.std(got) < 0.02 * 0.25


def test_what_tiles_share_counts_once():
    first, second = tile("a", 10.0, -30.0), tile("b", 10.0, -30.0, seed=1)
    second["flags"] = int(Flag.DUPLICATE)
    assert searched_area(vstack([first, second])) == searched_area(first)
    assert searched_area(vstack([first, tile("b", 20.0, -30.0, seed=1)])) == pytest.approx(0.5, rel=0.04)


def test_cutouts_and_what_is_not_on_the_sky_have_no_area():
    assert np.isnan(searched_area(tile("a", 10.0, 0.0, n=10)))
    lost = tile("a", 10.0, 0.0)
    lost["ra"] = np.nan
    assert np.isnan(searched_area(lost))
    line = tile("a", 10.0, 0.0)
    line["dec"] = 0.0
    assert np.isnan(searched_area(line))
    assert np.isnan(searched_area(lost[:0]))
