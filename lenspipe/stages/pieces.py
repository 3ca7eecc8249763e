"""From the files of a tile, a cutout or a collection to stamps, piece by piece: what lies in memory is a strip.

A tile is read in strips of whole rows, each pixel once (besides the margins), whatever its size and its number of
objects. Where a band lies on another grid, turned or shifted, strips are cut into blocks, and pixels of that band near
their edges are read several times. HCOMPRESS and PLIO files are unpacked whole to scratch, a file at a time, by the
guarded child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.table import vstack

from lenspipe.config import Config
from lenspipe.core.errors import Rejected
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageSet, Quarantined, StampFormat
from lenspipe.imaging.blocks import split_length
from lenspipe.io.bands import open_bands
from lenspipe.io.collections import AT_ONCE, holds_members
from lenspipe.io.planes import list_planes
from lenspipe.io.shards import Shard
from lenspipe.stages.collection import cut_members
from lenspipe.stages.search import find_targets
from lenspipe.stages.tile import Piece, Tile, Window

#: Columns of a block, without margins, where a band lies on another grid.
BLOCK = 1024


def read_pieces(image_set: ImageSet, survey: Survey, form: StampFormat, config: Config) -> Iterator[Piece]:
    """Yield the stamps of a tile or cutout; every target is in one piece, as a stamp or with a reason.

    Raises
    ------
    Rejected
        If the whole image cannot be used; also after the first pieces, where it shows only then.
    """
    collection = holds_members(image_set)
    planes = [] if collection else list_planes(image_set, survey)
    if collection or any(plane.object for plane in planes):
        yield from cut_members(image_set, planes, survey, form, config)
        return
    _require_bands(planes, form.bands)
    with open_bands(planes, form.bands) as bands:
        tile = Tile(image_set, bands, survey, form, config)
        for targets, window, left_out in find_targets(tile):
            for some, part in _split_window(tile, targets, window):
                for start in range(0, max(1, len(some)), AT_ONCE):
                    yield tile.cut(some[start : start + AT_ONCE], part, left_out)
                    left_out = []


def _split_window(tile: Tile, targets: Any, window: Window) -> Iterator[tuple[Any, Window]]:
    """Yield targets with the windows in which their stamps lie: blocks of columns where a band is on another grid.

    Of a band that is turned by 45 degrees a whole strip covers half of the tile.
    """
    rows, columns = window
    width = columns.stop - columns.start
    if not any(tile.moved.values()) or width <= BLOCK:
        yield targets, window
        return
    blocks = list(split_length(width, BLOCK, tile.margin))
    starts = columns.start + np.array([block.start for block in blocks])
    number = np.maximum(np.searchsorted(starts, np.asarray(targets["x"], float), side="right") - 1, 0)
    for k in np.unique(number) if len(targets) else [0]:
        part = slice(columns.start + blocks[k].low, columns.start + blocks[k].high)
        yield targets[number == k], (rows, part)


def _require_bands(planes, bands: tuple[str, ...]) -> None:
    there = {plane.band for plane in planes if plane.role == "image"}
    missing = [band for band in bands if band not in there]
    if missing:
        path = planes[0].path if planes else ""
        names = ", ".join(sorted(band or "?" for band in there)) or "none"
        raise Rejected(f"missing_band:{missing[0]}", f"needs {', '.join(bands)}; images found: {names}", path)


def read_whole(
    image_set: ImageSet, survey: Survey, form: StampFormat, config: Config
) -> tuple[Shard, Any, list[Quarantined]]:
    """Return all stamps of a tile or cutout, their table, and the objects left out: in memory.

    Raises
    ------
    Rejected
        If the whole image cannot be used.
    """
    pieces = list(read_pieces(image_set, survey, form, config))
    names = ("flux", "mask", "noise_sigma", "psf_fwhm", "electrons_per_njy")
    arrays = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    image = arrays.pop("flux")
    if pieces[0].psf_image is not None:
        arrays["psf_image"] = np.stack([piece.psf_image for piece in pieces])
        arrays["psf_index"] = np.repeat(np.arange(len(pieces)), [len(piece.flux) for piece in pieces])
    shard = Shard(
        image,
        bands=form.bands,
        pixel_scale=form.pixel_scale,
        survey=survey.name,
        seed=config.run.seed,
        **arrays,
    )
    table = vstack([piece.objects for piece in pieces], metadata_conflicts="silent")
    return shard, table, [row for piece in pieces for row in piece.rejected]
