"""From a collection of cutouts to pieces of stamps: each object is cut on its own, like a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lenspipe.config import Config
from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag, object_columns
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageFile, ImageSet, Quarantined, StampFormat
from lenspipe.io.collections import AT_ONCE, Member, read_members
from lenspipe.stages.tile import Piece, Tile

_LARGEST = 4  # stamps: what is wider is no cutout


def cut_members(
    image_set: ImageSet, planes: Sequence[Any], survey: Survey, form: StampFormat, config: Config
) -> Iterator[Piece]:
    """Yield the stamps of a collection's objects, some hundreds together; bad ones by name among the rejected.

    Raises
    ------
    Rejected
        If the collection as a whole cannot be read.
    """
    pieces: list[Piece] = []
    for member in read_members(image_set, planes, survey, form.bands):
        pieces.append(_cut_member(member, image_set, survey, form, config))
        if len(pieces) == AT_ONCE:
            yield _join(pieces)
            pieces = []
    yield _join(pieces or [_without_stamp(form, ())])


def _cut_member(
    member: Member, image_set: ImageSet, survey: Survey, form: StampFormat, config: Config
) -> Piece:
    from astropy.table import Table

    path = image_set.files[0].path
    try:
        if member.fault is not None:
            raise member.fault
        path = member.bands[form.bands[0]].path
        own = ImageSet(image_set.name, (ImageFile(path),))
        tile = Tile(own, member.bands, survey, form, config, cutout=True)
        height, width = tile.shape
        if max(tile.shape) * tile.cal.pixel_scale > _LARGEST * form.size * form.pixel_scale:
            detail = f"{width} x {height} pixels; an object of a collection is at most {_LARGEST} stamps wide"
            raise Rejected("not_a_cutout", detail, path)
        table = Table({"x": [(width - 1) / 2], "y": [(height - 1) / 2], "object_id": [member.name]})
        piece = tile.cut(table, (slice(0, height), slice(0, width)))
    except Rejected as fault:
        row = Quarantined(
            fault.path or path, fault.reason, fault.detail, fault.hdu, image_set.name, member.name
        )
        return _without_stamp(form, (row,))
    except Exception as error:  # one object of many thousands must not cost the others
        detail = f"{type(error).__name__}: {error}; please report this file"
        row = Quarantined(path, "internal_error", detail, "", image_set.name, member.name)
        return _without_stamp(form, (row,))
    objects = piece.objects
    if tile.cal.wcs is None and member.ra is not None and member.dec is not None and len(objects):
        objects["ra"], objects["dec"] = member.ra, member.dec
        objects["flags"] &= ~int(Flag.NO_WCS)
    return piece


def _join(pieces: Sequence[Piece]) -> Piece:
    from astropy.table import vstack

    names = ("flux", "mask", "noise_sigma", "psf_fwhm", "electrons_per_njy")
    arrays = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    objects = vstack([piece.objects for piece in pieces], metadata_conflicts="silent")
    rejected = tuple(row for piece in pieces for row in piece.rejected)
    counts = {name: sum(getattr(piece, name) for piece in pieces) for name in ("found", "not_selected")}
    return Piece(**arrays, objects=objects, rejected=rejected, **counts)


def _without_stamp(form: StampFormat, rejected: tuple[Quarantined, ...]) -> Piece:
    from lenspipe.io.tables import empty_catalog

    count = len(form.bands)
    objects = empty_catalog(object_columns(form.bands))
    objects.remove_column("name")
    objects["edge_distance"] = np.zeros(0)
    none = np.zeros((0, count), np.float32)
    flux = np.zeros((0, form.size, form.size, count), np.float32)
    return Piece(flux, flux.astype(np.uint8), none, none, none, objects, rejected, found=len(rejected))
