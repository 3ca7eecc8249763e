"""Where the targets of a tile are: in its middle, in the user's table, or wherever sources stand out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lenspipe.core.errors import Rejected
from lenspipe.core.types import Quarantined
from lenspipe.imaging.astrometry import pixels_of
from lenspipe.stages.targets import read_targets
from lenspipe.stages.tile import Tile, Window

#: Rows of a strip, without margins, where every row is searched.
STRIP = 1024


def find_targets(tile: Tile) -> Iterator[tuple[Any, Window, list[Quarantined]]]:
    """Yield tables of targets, the window in which their stamps lie, and who is none."""
    from astropy.table import Table

    height, width = tile.shape
    if tile.is_cutout:
        table = Table({"x": [(width - 1) / 2], "y": [(height - 1) / 2]})
        table["object_id"] = np.array([tile.name])
        yield table, (slice(0, height), slice(0, width)), []
    elif tile.config.targets.table:
        yield from _place_targets(tile)
    else:
        yield from _detect_targets(tile)


def _detect_targets(tile: Tile) -> Iterator[tuple[Any, Window, list[Quarantined]]]:
    from astropy.table import vstack

    from lenspipe.imaging.blocks import split_length
    from lenspipe.imaging.calibrate import calibrate_image
    from lenspipe.imaging.detect import detect_in_blocks, drop_known

    section, number, known = tile.config.ingest, 0, None
    for strip in split_length(tile.shape[0], STRIP, tile.margin):
        window = (slice(strip.low, strip.high), slice(0, tile.shape[1]))
        image = calibrate_image(tile.window(tile.first, window), tile.cal, y=strip.low)
        found = detect_in_blocks(
            image, slice(strip.start - strip.low, strip.stop - strip.low), tile.margin,
            detect_sigma=section.detect_sigma, detect_pixels=section.detect_pixels, deblend=section.deblend,
        )  # fmt: skip
        found["y"] += strip.low
        found = found if known is None else drop_known(found, known)
        known = found if known is None else vstack([known[known["y"] > strip.start - STRIP], found])
        table = found[(found["snr"] >= section.min_snr) & (found["mag"] <= section.max_mag)]
        names = [f"{tile.name}-{number + k:05d}" for k in range(len(table))]
        table["object_id"] = np.array(names, dtype=str)
        number += len(table)
        spoilt = np.asarray(table["saturated"], bool) & section.mask_saturated
        yield table["x", "y", "object_id"][~spoilt], window, _saturated(tile, table[spoilt])


def _saturated(tile: Tile, table: Any) -> list[Quarantined]:
    return [
        Quarantined(
            tile.path, "saturated", f"saturated pixels in the source at x = {x:.0f}, y = {y:.0f}",
            unit=tile.name, object=str(name),
        )
        for x, y, name in table.iterrows("x", "y", "object_id")
    ]  # fmt: skip


def _place_targets(tile: Tile) -> Iterator[tuple[Any, Window, list[Quarantined]]]:
    """Yield the targets of the table in groups of near rows: rows that hold no target are not read."""
    from astropy.table import Table

    height, width = tile.shape
    place = _pixels_of(tile, read_targets(tile.config).placed)
    order = np.argsort(place["y"], kind="stable")
    y = np.asarray(place["y"])[order]
    far = np.diff(y, prepend=-np.inf) > 2 * tile.margin
    if not len(order):
        yield place["x", "y", "object_id"], (slice(0, 1), slice(0, 1)), []
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and not far[end] and y[end] - y[start] <= STRIP:
            end += 1
        group: Table = place[order[start:end]]
        window = tuple(
            slice(max(0, int(group[c].min()) - tile.margin), min(n, int(group[c].max()) + tile.margin + 1))
            for c, n in (("y", height), ("x", width))
        )
        yield group["x", "y", "object_id"], window, []
        start = end


def _pixels_of(tile: Tile, targets: Any) -> Any:
    """Return the targets that lie on the image, with x and y."""
    if tile.cal.wcs is None:
        raise Rejected("no_wcs", "targets have sky positions, but the image has no WCS", tile.path)
    height, width = tile.shape
    x, y = pixels_of(tile.cal.wcs, targets["ra"], targets["dec"])
    with np.errstate(invalid="ignore"):
        inside = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    here = targets[inside]
    here["x"], here["y"] = x[inside], y[inside]
    return here
