"""The 2-D images inside FITS files: found by EXTNAME, with what they show and in which band.

A cube in an HDU (or file) that names one band is a stack of objects; one that names none holds a layer a band.
Several images of one band in one file are objects too where their headers name different ones: by the keyword
OBJECT_ID or OBJECT, else by EXTNAMEs such as ``J0330-5228_g``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageFile, ImageSet
from lenspipe.io.fits import Hdu, describe_file

_ROLES = ("image", "weight", "variance", "rms", "mask", "psf", "psf_size", "psf_model")


@dataclass(frozen=True)
class Plane:
    """One 2-D image inside a file: which HDU, which layer of a cube, what it shows.

    A PSF model is a plane too, though a table. `object` is empty but in stacks of cutouts.
    """

    path: str
    hdu: int
    layer: int | None
    role: str
    band: str
    label: str
    object: str = ""


def list_planes(image_set: ImageSet, survey: Survey) -> list[Plane]:
    """Return all 2-D images of the files of a tile, cutout or stack of cutouts, with their roles and bands."""
    planes = [
        plane
        for file in image_set.files
        for hdu in describe_file(file.path)
        for plane in _planes_of(hdu, file, survey)
    ]
    if len(survey.bands) == 1:  # a survey of one band needs no label
        only = next(iter(survey.bands))
        planes = [replace(plane, band=only) for plane in planes]
    return _name_objects(planes)


def _planes_of(hdu: Hdu, file: ImageFile, survey: Survey) -> list[Plane]:
    name = str(hdu.header.get("EXTNAME", hdu.name)).strip()  # as it is written: astropy's has capitals only
    role, ext_band, ext_object = _read_extname(name, survey)
    label = f"{hdu.number}:{hdu.name}" if hdu.name else str(hdu.number)
    if role == "psf_model":
        return [Plane(file.path, hdu.number, None, role, file.band or ext_band, label)]
    if len(hdu.shape) not in (2, 3):
        return []
    role = role or file.role or "image"
    band = file.band or ext_band or _header_band(hdu.header, survey)
    if len(hdu.shape) == 2:
        name = _header_object(hdu.header) or ext_object
        return [Plane(file.path, hdu.number, None, role, band, label, name)]
    count = hdu.shape[0]
    if "BANDS" not in hdu.header and (band or (len(survey.bands) == 1 and count > 1)):
        layers = range(count)
        return [Plane(file.path, hdu.number, k, role, band, f"{label}[{k}]", f"{k:05d}") for k in layers]
    names = _cube_bands(hdu.header, count, survey, file.path)
    return [Plane(file.path, hdu.number, k, role, name, label) for k, name in enumerate(names)]


def _name_objects(planes: list[Plane]) -> list[Plane]:
    """Return the planes of a set with the names of their objects where there are several, else without."""
    images = [plane for plane in planes if plane.role == "image"]
    objects = {plane.object for plane in images}
    places = [(plane.object, plane.band) for plane in images]
    stack = len(objects) > 1 and "" not in objects and len(set(places)) == len(places)
    several = len({plane.band for plane in images}) < len(images)
    return planes if stack and several else [replace(plane, object="") for plane in planes]


def _read_extname(extname: str, survey: Survey) -> tuple[str, str, str]:
    """Return the role, band and object that an EXTNAME tells."""
    known = {name.upper(): role for role in _ROLES for name in getattr(survey.layout, role)}
    head, _, tail = extname.rpartition("_")
    band = survey.band_named(tail, any_case=True) if head else ""
    if extname.upper() in known:
        return known[extname.upper()], "", ""
    if not band:
        head, band = extname, survey.band_named(extname, any_case=True)
        return "", band, "" if band else extname
    role = known.get(head.upper(), "")
    if role:
        return role, band, ""
    first, _, rest = head.partition("_")  # SCI_J0330_g, WGT_J0330_g
    return (known[first.upper()], band, rest) if first.upper() in known and rest else ("", band, head)


def _header_object(header) -> str:
    for key in ("OBJECT_ID", "OBJECTID", "OBJECT"):
        text = str(header.get(key, "")).strip()
        if text:
            return text
    return ""


def _header_band(header, survey: Survey) -> str:
    for key in ("BAND", "FILTER", "FILTER1", "HIERARCH FPA.FILTERID"):
        text = str(header.get(key, "")).strip()
        for word in (text, *re.split(r"[^A-Za-z0-9]+", text)[:1]):
            if survey.band_named(word):
                return survey.band_named(word)
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
