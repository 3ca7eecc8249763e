"""The 2-D images inside FITS files: found by EXTNAME, with what they show and in which band."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageSet
from lenspipe.io.fits import describe_file


@dataclass(frozen=True)
class Plane:
    """One 2-D image inside a file: which HDU, which layer of a cube, what it shows."""

    path: str
    hdu: int
    layer: int | None
    role: str
    band: str
    label: str


def list_planes(image_set: ImageSet, survey: Survey) -> list[Plane]:
    """Return all 2-D images of the files of a tile or cutout, with their roles and bands."""
    planes: list[Plane] = []
    for file in image_set.files:
        for hdu in describe_file(file.path):
            if len(hdu.shape) not in (2, 3):
                continue
            number, extname, header, shape = hdu.number, hdu.name, hdu.header, hdu.shape
            role, ext_band = _read_extname(extname, survey)
            role = role or file.role or "image"
            band = file.band or ext_band or _header_band(header, survey)
            label = f"{number}:{extname}" if extname else str(number)
            if len(shape) == 2:
                planes.append(Plane(file.path, number, None, role, band, label))
            elif role in ("image", "psf", "weight", "variance", "rms", "mask"):
                for layer, name in enumerate(_cube_bands(header, shape[0], survey, file.path)):
                    planes.append(Plane(file.path, number, layer, role, name, label))
    if len(survey.bands) == 1:  # a survey of one band needs no label
        only = next(iter(survey.bands))
        planes = [Plane(p.path, p.hdu, p.layer, p.role, only, p.label) for p in planes]
    return planes


def _read_extname(extname: str, survey: Survey) -> tuple[str, str]:
    layout = survey.layout
    for role, names in (
        ("image", layout.image),
        ("weight", layout.weight),
        ("variance", layout.variance),
        ("rms", layout.rms),
        ("mask", layout.mask),
        ("psf", layout.psf),
    ):
        for name in names:
            if extname.upper() == name.upper():
                return role, ""
            head, _, tail = extname.rpartition("_")
            if head.upper() == name.upper() and _match_band(tail, survey):
                return role, _match_band(tail, survey)
    return "", ""


def _match_band(text: str, survey: Survey) -> str:
    if text in survey.bands:
        return text
    same = [band for band in survey.bands if band.lower() == text.lower()]  # astropy upper-cases EXTNAME
    return same[0] if len(same) == 1 else ""


def _header_band(header, survey: Survey) -> str:
    for key in ("BAND", "FILTER", "FILTER1", "HIERARCH FPA.FILTERID"):
        words = re.split(r"[^A-Za-z0-9]+", str(header.get(key, "")).strip())
        if words and words[0] in survey.bands:
            return words[0]
    return ""


def _cube_bands(header, layers: int, survey: Survey, path: str) -> list[str]:
    named = str(header.get("BANDS", "")).replace(",", " ").split()
    for names in (named, list(survey.bands), list(survey.model_bands)):
        if len(names) == layers:
            return names
    raise Rejected(
        "cube_bands",
        f"a cube of {layers} layers, but {survey.name} has {len(survey.bands)} bands; "
        "name them in the header: BANDS = 'g r i'",
        path,
    )
