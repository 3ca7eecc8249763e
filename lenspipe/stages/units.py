"""A unit of work a tile, cutout or collection: what *ingest* cuts and what *simulate* paints lenses into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, ImageFile, ImageSet, Quarantined, Unit
from lenspipe.io.layout import group_files, name_duplicates
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.targets import check_targets


def make_units(
    paths: Iterable[str], config: Config, payload: Mapping[str, Any] | None = None, **settings: Any
) -> list[Unit]:
    """Return one unit an image set that the files make; `payload` and `settings` are added to each one's own.

    Raises
    ------
    InputError, ConfigError
        What `check_targets` and `group_files` raise.
    """
    form = stamp_format(config)
    whole = {**settings_of(config, "ingest", "targets"), "stamps": form.__dict__, **settings}
    whole["ingest"].pop("images")  # another tile in the list does not change this one
    targets = check_targets(config, form.bands)
    units = []
    for image_set in group_files(paths, load_survey(config.survey)):
        own = {**(payload or {}), "files": [file.__dict__ for file in image_set.files]}
        if image_set.duplicates:
            own["duplicates"] = list(image_set.duplicates)
        units.append(Unit(image_set.name, own, (*(file.path for file in image_set.files), *targets), whole))
    return units


def tile_of(unit: Unit) -> ImageSet:
    """Return the files of a unit."""
    files = tuple(ImageFile(**file) for file in unit.payload["files"])
    return ImageSet(unit.name, files, tuple(unit.payload.get("duplicates", ())))


def reject_tile(unit: Unit, fault: Rejected, counts: Mapping[str, int]) -> Done:
    """Return what is left of a tile that cannot be used: its name and the reason."""
    tile = tile_of(unit)
    path = fault.path or tile.files[0].path
    row = Quarantined(path, fault.reason, fault.detail, fault.hdu, unit=unit.name)
    return Done((), dict(counts), (row, *name_duplicates(tile)))
