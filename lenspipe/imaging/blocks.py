"""A length in overlapping blocks: each pixel in the core of one, with a margin on both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from lenspipe.core.types import BandImage


@dataclass(frozen=True)
class Block:
    """Pixels `low` to `high` are looked at, of which `start` to `stop` are the block's own."""

    low: int
    high: int
    start: int
    stop: int


def split_length(length: int, core: int, margin: int) -> list[Block]:
    """Return blocks that cover a length; the last one may be up to half a core longer than the others."""
    count = max(1, round(length / core))
    edges = [core * k for k in range(count)] + [length]
    return [
        Block(max(0, start - margin), min(length, stop + margin), start, stop)
        for start, stop in pairwise(edges)
    ]


def cut_image(image: BandImage, rows: slice, columns: slice) -> BandImage:
    """Return a part of an image, without copying its pixels."""
    whole = rows.indices(image.flux.shape[0])[:2] + columns.indices(image.flux.shape[1])[:2]
    if whole == (0, image.flux.shape[0], 0, image.flux.shape[1]):
        return image
    cut = {name: getattr(image, name)[rows, columns] for name in ("flux", "sigma", "saturated")}
    return replace(image, **cut, wcs=None if image.wcs is None else image.wcs[rows, columns])
