"""Any tiling of the same sky gives the same objects, each once."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.catalog.duplicates import merge_detections
from lenspipe.core.schema import Flag

ARCSEC = 1 / 3600


def detections(*rows, **columns):
    """Return a table of (object_id, x, y [arcsec at RA 10, Dec 0]); the id's first letter is the tile."""
    table = Table({"object_id": [row[0] for row in rows], "tile": [row[0][0] for row in rows]})
    table["ra"] = 10 + np.array([row[1] for row in rows], dtype=float) * ARCSEC
    table["dec"] = np.array([row[2] for row in rows], dtype=float) * ARCSEC
    table["flags"] = np.zeros(len(rows), dtype="i4")
    for name, values in columns.items():
        table[name] = values
    return table


def kept(table):
    return sorted(table["object_id"][(table["flags"] & Flag.DUPLICATE) == 0])


def test_the_image_without_blemish_wins_then_the_deepest_then_snr_then_names():
    pair = detections(("A1", 0, 0), ("B1", 0.5, 0))
    assert kept(merge_detections(pair, 1.0)) == ["A1"]
    pair["snr_g"], pair["snr_i"] = [3.0, 9], [7, np.nan]
    assert kept(merge_detections(pair, 1.0)) == ["B1"]
    pair["mag_g"], pair["mag_i"] = [20.0, 18.0], [np.nan, np.nan]  # B: S/N of a brighter source, more noise
    assert kept(merge_detections(pair, 1.0)) == ["A1"]
    for blemish in (Flag.PADDED, Flag.MASKED, Flag.SATURATED):
        pair["flags"] = [int(blemish), int(Flag.NOISE_ESTIMATED | Flag.RESAMPLED | Flag.DUPLICATE)]
        merged = merge_detections(pair, 1.0)
        assert list(merged["flags"]) == [blemish | Flag.DUPLICATE, Flag.NOISE_ESTIMATED | Flag.RESAMPLED]
        assert merged["flags"].dtype == np.int32
    assert pair["flags"][0] == Flag.SATURATED  # a copy was made
    pair["flags"] = [int(Flag.MASKED), int(Flag.MASKED | Flag.SATURATED)]
    assert kept(merge_detections(pair, 1.0)) == ["A1"]


def test_neighbours_are_taken_from_the_same_image():
    rng = np.random.default_rng(3)
    rows = [(f"{tile}{k:02d}", 20 * (k % 6), 20 * (k // 6)) for tile in "AB" for k in range(36)]
    flux = rng.uniform(100, 900, 72)
    error = np.where(np.arange(72) < 36, 10.0, 9.0) * np.exp(rng.normal(0, 0.2, 72))
    table = detections(*rows, mag_g=31.4 - 2.5 * np.log10(flux), snr_g=flux / error)
    merged = merge_detections(table, 1.0)
    for cell in np.unique(merged["healpix"]):
        assert len({name[0] for name in kept(merged[merged["healpix"] == cell])}) == 1
    assert sum(name[0] == "B" for name in kept(merged)) > 18


def test_only_other_tiles_within_the_radius_merge():
    table = detections(
        ("A1", 0, 0), ("A2", 0.2, 0), ("C1", 50, 0), ("D1", 51.2, 0), ("E1", np.nan, 0), ("F1", 0, np.nan)
    )
    merged = merge_detections(table, 1.0)
    assert kept(merged) == ["A1", "A2", "C1", "D1", "E1", "F1"]
    assert list(merged["healpix"][4:]) == [-1, -1]
    assert (merged["healpix"][:4] >= 0).all()


def test_one_tile_s_objects_are_never_joined_through_another_tile():
    assert kept(merge_detections(detections(("A1", 0, 0), ("B1", 0.7, 0), ("A2", 1.4, 0)), 1.0)) == [
        "A1",
        "A2",
    ]
    # the nearest neighbour of B1 is A1, but that would leave A2 and B2 alone: three objects of two
    pairs = detections(("A1", 0, 0), ("A2", 0.5, 0), ("B1", -0.1, 0), ("B2", -0.5, 0))
    assert kept(merge_detections(pairs, 1.0)) == ["A1", "A2"]
    # a blend of two is no third
    blend = detections(("A1", 0, 0), ("A2", 0.9, 0), ("B1", 0.4, 0), ("C1", 0.5, 0))
    assert kept(merge_detections(blend, 1.0)) == ["A1", "A2"]
    # a chain that both tiles cut off: what they share lies at the same place, the rest are objects of their own
    chain = detections(
        ("A1", 0, 0), ("A2", 0.8, 0), ("A3", 1.6, 0), ("B1", 1.6, 0), ("B2", 2.4, 0), ("C1", 3.3, 0)
    )
    assert kept(merge_detections(chain, 1.0)) == ["A1", "A2", "A3", "B2"]
    apart = detections(("A1", 0, 0), ("A2", 0.8, 0), ("B1", 0.85, 0), ("B2", 1.7, 0))
    assert len(kept(merge_detections(apart, 1.0))) == 3


def test_rows_without_a_conflict_hang_together_and_borders_of_the_sky_are_none():
    table = detections(*[(name, 0, 0) for name in ("A1", "B1", "A2", "B2", "A3", "B3", "C3")])
    table["ra"] = [359.99999, 0.00001, 0, 180, 20, 20, 20]
    table["dec"] = [0, 0, 90 - 0.1 * ARCSEC, 90 - 0.1 * ARCSEC, 0, 0.8 * ARCSEC, 1.6 * ARCSEC]
    assert kept(merge_detections(table, 1.0)) == ["A1", "A2", "A3"]


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(n_rows):
    table = detections(("A1", 0, 0))
    table["flags"] = np.int32(Flag.DUPLICATE)
    assert list(merge_detections(table[:n_rows], 1.0)["flags"]) == [0] * n_rows


# -- any tiling ------------------------------------------------------------------------------------------

CENTRES = [(0.0, 0.0), (359.9999, 30.0), (123.0, 90.0), (10.0, -89.9999), (45.0, 41.8103149), (315.0, -60.0)]
LOST, CLUMP = 3.0, 3.0  # arcsec: objects nearer a tile's edge may be missed; largest extent of a clump
tiles = st.lists(
    st.tuples(*[st.integers(-30, 20)] * 2, *[st.integers(15, 60)] * 2, st.integers(0, 3)),
    min_size=1,
    max_size=5,
)


def draw_sky(rng):
    """Return objects (n, 2) [arcsec] in clumps of one to four, any distance apart within, and their clumps."""
    cells = rng.permutation(49)[: rng.integers(1, 12)]
    members = np.repeat(cells, rng.choice([1, 1, 2, 2, 3, 4], len(cells)))
    reach, angle = rng.uniform(0, CLUMP / 2, len(members)), rng.uniform(0, 2 * np.pi, len(members))
    place = np.stack([members % 7 - 3, members // 7 - 3], axis=1) * 8.0
    return place + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1), members


def observe(rng, sky, tile):
    """Return which objects a tile shows and where; a tile is (x, y, width, height, turn)."""
    x, y, width, height, turn = tile
    cos, sin = np.cos(turn / 3), np.sin(turn / 3)
    local = sky @ np.array([[cos, -sin], [sin, cos]]) - (x, y)
    depth = np.minimum(local, (width, height) - local).min(axis=1)
    seen = np.flatnonzero((depth > LOST) | ((depth > 0) & (rng.random(len(sky)) < 0.5)))
    reach, angle = rng.uniform(0, 0.15, len(seen) + 1), rng.uniform(0, 2 * np.pi, len(seen) + 1)
    scatter = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    return seen, sky[seen] + scatter[1:] + scatter[0], depth > LOST + CLUMP


def make_detections(rng, shown, centre, radius):
    """Return one table of all tiles' detections; `truth` numbers the objects."""
    truth = np.concatenate([seen for seen, _ in shown])
    x, y = (radius * np.concatenate([place for _, place in shown])).T
    sky = SkyCoord(*centre, unit="deg").spherical_offsets_by(x * u.arcsec, y * u.arcsec)
    names = rng.permutation([f"T{k}" for k in range(len(shown))])
    table = Table({"tile": np.repeat(names, [len(seen) for seen, _ in shown]), "truth": truth})
    table["object_id"] = [f"{tile}-{k}" for k, tile in enumerate(table["tile"])]
    table["ra"], table["dec"] = sky.ra.deg, sky.dec.deg
    table["flags"] = rng.choice(np.array([0, 0, 1, 2, 4, 6, 64, 1024], "i4"), len(truth))
    table["mag_g"], table["snr_g"] = rng.uniform(18, 24, len(truth)), rng.uniform(5, 50, len(truth))
    return table


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    tiles,
    st.sampled_from(CENTRES),
    st.sampled_from([0.3, 1.0, 5.0]),
    st.integers(0, 2),
)
def test_any_tiling_gives_every_object_that_a_tile_holds_well_inside_once(
    seed, tiling, centre, radius, copies
):
    rng = np.random.default_rng(seed)
    sky, clump = draw_sky(rng)
    views = [observe(rng, sky, tile) for tile in tiling]
    held = np.any([inside for _, _, inside in views], axis=0)
    shown = [(seen, place) for seen, place, _ in views]
    shown += shown[:copies]  # the same tile under another name
    if not sum(len(seen) for seen, _ in shown):
        return
    table = make_detections(rng, shown, centre, radius)
    merged = merge_detections(table, radius)
    single = merged[(merged["flags"] & Flag.DUPLICATE) == 0]
    times = np.bincount(single["truth"], minlength=len(sky))
    assert (times[held] == 1).all()
    for number in np.unique(clump):  # never more objects than there are, wherever the tiles end
        assert times[clump == number].sum() <= (clump == number).sum()
    shuffled = table[rng.permutation(len(table))]
    assert kept(merge_detections(shuffled, radius)) == kept(merged)
    assert kept(merge_detections(merged, radius)) == kept(merged)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 8), st.integers(0, 3)), max_size=14),
    st.randoms(use_true_random=False),
)
def test_in_any_crowd_nothing_is_lost_and_the_order_of_rows_is_nothing(cells, random):
    rows = [(f"{tile}{k:02d}", 0.6 * x, 0.6 * y) for k, (tile, x, y) in enumerate(cells)]
    if not rows:
        return
    merged = merge_detections(detections(*rows), 1.0)
    assert kept(merged) == kept(merge_detections(detections(*random.sample(rows, len(rows))), 1.0))
    single = set(kept(merged))
    place = {name: np.array([x, y]) for name, x, y in rows}
    for name, x, y in rows:
        others = [other for other in place if other[0] != name[0] and np.hypot(*(place[other] - (x, y))) < 1]
        assert name in single or others  # nobody goes without a counterpart
    patches = [{name} for name in place]
    for a in place:  # patches by hand, O(n^3)
        for b in place:
            if a[0] != b[0] and np.hypot(*(place[a] - place[b])) < 1:
                joined = set.union(*(patch for patch in patches if patch & {a, b}))
                patches = [patch for patch in patches if not patch & joined] + [joined]
    for patch in patches:
        most = max(sum(name[0] == tile for name in patch) for tile in "ABCD")
        assert len(patch & single) >= most  # a tile's objects stay apart
        if most == 1:
            assert len(patch & single) == 1
