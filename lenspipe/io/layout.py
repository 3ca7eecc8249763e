"""Which files belong together, and which band and role each name tells.

Names are read by the survey's own patterns first, then by their words: ``DES0325_g_wht.fits`` has the
band ``g`` and the role ``weight``; what is left, ``DES0325``, names the tile.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from lenspipe.core.errors import InputError
from lenspipe.core.survey import Survey
from lenspipe.core.types import DUPLICATE, ImageFile, ImageSet, Quarantined
from lenspipe.io.collections import HDF5, TABLES, read_paths
from lenspipe.io.files import escape_text

FITS = (".fits", ".fit", ".fits.gz", ".fits.fz", ".psf")
#: What a folder is searched for; a table of paths has to be named.
SUFFIXES = (*FITS, *HDF5)

#: Words in file names -> what the pixels are.
ROLES = {
    "sci": "image",
    "img": "image",
    "image": "image",
    "ooi": "image",
    "wht": "weight",
    "wgt": "weight",
    "wei": "weight",
    "weight": "weight",
    "invvar": "weight",
    "oow": "weight",
    "var": "variance",
    "variance": "variance",
    "rms": "rms",
    "msk": "mask",
    "mask": "mask",
    "maskbits": "mask",
    "flag": "mask",
    "ood": "mask",
    "dq": "mask",
    "psf": "psf",
    "psfsize": "psf_size",
    "psfcat": "psf_model",
    "psfex": "psf_model",
}
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]+(?![A-Za-z0-9])")


def find_images(inputs: Sequence[str]) -> list[str]:
    """Return the files that files, folders and glob patterns name, in order, each once.

    FITS images and HDF5 stacks; a table of paths only where it is named itself. A file that is named but not
    there is kept: the run goes on and names it in the quarantine table.

    Raises
    ------
    InputError
        If the inputs name nothing at all.
    """
    found: dict[str, None] = {}
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            matches = sorted(str(p) for p in path.rglob("*") if p.name.lower().endswith(SUFFIXES))
            if not matches:
                raise InputError(f"no FITS files or HDF5 stacks ({', '.join(SUFFIXES)}) in the folder {item}")
        elif any(c in item for c in "*?[") and not path.exists():
            matches = sorted(str(p) for p in Path(path.anchor or ".").glob(item.removeprefix(path.anchor)))
            matches = [name for name in matches if not name.lower().endswith(TABLES)]
            if not matches:
                raise InputError(f"no file matches {item!r}")
        else:
            matches = [item]
        found.update(dict.fromkeys(matches))
    if all(not Path(path).exists() for path in found):
        raise InputError(f"no such file: {', '.join(list(found)[:3])}")
    return list(found)


def group_files(paths: Iterable[str], survey: Survey) -> list[ImageSet]:
    """Return the image sets that the files make: one a tile, a cutout or a collection, in order of their names.

    A table of paths gives one a few hundred objects. Files that the survey's layout ignores are left out. A file or a
    set of files that is named twice, by whatever path, counts once; of one file in several forms the plain one is
    taken, then ``.fits.fz``, then ``.fits.gz``.

    Raises
    ------
    InputError
        If a table of paths is none.
    """
    sets: dict[tuple[str, str], list[ImageFile]] = {}
    for path in sorted(set(paths)):
        base = Path(path).name
        folder, whole = os.path.realpath(Path(path).parent), os.path.realpath(path)
        if base.lower().endswith(TABLES):
            for number, files in enumerate(read_paths(path, survey)):
                sets.setdefault((f"{stem(base)}-{number:05d}", whole), files)
        elif base.lower().endswith(HDF5):
            sets.setdefault((stem(base), whole), [ImageFile(path)])
        elif not any(fnmatchcase(base, pattern) for pattern in survey.layout.ignore):
            name, file = parse_name(path, survey)
            sets.setdefault((name, folder), []).append(file)
    sets = _drop_copies(sets)
    names = [name for name, _ in sets]
    out = []
    for (name, folder), files in sorted(sets.items(), key=lambda item: item[0]):
        if names.count(name) > 1:  # the same tile name in two folders: two tiles
            name = f"{name}@{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"
        chosen, duplicates = (files, ()) if files[0].object else _choose_forms(files)
        # a name stands in tables, whose text is UTF-8
        out.append(ImageSet(escape_text(name), tuple(chosen), tuple(duplicates)))
    return out


def _drop_copies(sets: dict[tuple[str, str], list[ImageFile]]) -> dict[tuple[str, str], list[ImageFile]]:
    """Return the sets without files, and without sets, that are others under a second path."""
    kept: dict[frozenset, tuple[tuple[str, str], list[ImageFile]]] = {}
    for key, files in sets.items():
        own: dict[tuple[str, ...], ImageFile] = {}
        for file in (
            files
        ):  # one mask may be linked as that of several bands, one cutout be listed as several objects
            own.setdefault((os.path.realpath(file.path), file.band, file.role, file.object), file)
        kept.setdefault(frozenset(own), (key, list(own.values())))
    return dict(kept.values())


def _choose_forms(files: list[ImageFile]) -> tuple[list[ImageFile], list[str]]:
    """Return the files of a set, each in one form only, and the paths of the others."""
    forms: dict[tuple[str, str, str], list[ImageFile]] = {}
    for file in files:
        base = Path(file.path).name
        is_model = base.lower().endswith(".psf")  # a model of the PSF is no other form of an image
        forms.setdefault((base if is_model else stem(base), file.band, file.role), []).append(file)
    ordered = [sorted(same, key=_form) for same in forms.values()]
    chosen = sorted((same[0] for same in ordered), key=lambda file: file.path)
    return chosen, sorted(file.path for same in ordered for file in same[1:])


def name_duplicates(image_set: ImageSet) -> list[Quarantined]:
    """Return a row of the quarantine table for each file that is not read because another form of it is."""
    detail = "the same file in another form is beside it, and is read"
    return [Quarantined(path, DUPLICATE, detail, unit=image_set.name) for path in image_set.duplicates]


def _form(file: ImageFile) -> tuple[int, str]:
    lower = file.path.lower()
    return next((n for n, suffix in enumerate((".fz", ".gz"), 1) if lower.endswith(suffix)), 0), file.path


def parse_name(path: str, survey: Survey) -> tuple[str, ImageFile]:
    """Return the tile's name, and the band and role that a file's name tells (empty if it does not)."""
    base = Path(path).name
    usual = "psf_model" if base.lower().endswith(".psf") else ""
    spellings = (*survey.bands, *survey.layout.band_names)
    for pattern in survey.layout.pattern:
        match = _pattern(stem(pattern), spellings).fullmatch(stem(base))
        if match:
            found = match.groupdict()
            role = ROLES.get(found.get("role", "").lower(), usual)
            return found.get("tile") or stem(base), ImageFile(
                path, survey.band_named(found.get("band", "")), role
            )
    name = stem(base)
    name, band = _take_word(name, survey.band_named)
    name, role = _take_word(name, lambda word: ROLES.get(word.lower(), ""))
    return name or stem(base), ImageFile(path, band, role or usual)


def stem(name: str) -> str:
    """Return a file's name without the suffix of an image or a table of paths."""
    lower = name.lower()
    for suffix in sorted((*SUFFIXES, *TABLES), key=len, reverse=True):
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name


def _take_word(name: str, meaning) -> tuple[str, str]:
    """Return the name without its last word that has a meaning, and that meaning."""
    for match in reversed(list(_WORD.finditer(name))):
        value = meaning(match.group())
        if value:
            before, after = name[: match.start()], name[match.end() :]
            return (before[:-1] + after if before else after[1:]), value
    return name, ""


@lru_cache(maxsize=256)
def _pattern(pattern: str, bands: tuple[str, ...]) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\*", ".*?")
    longest_first = sorted(bands, key=len, reverse=True)
    for field, expression in (
        ("tile", r".+?"),
        ("band", "|".join(re.escape(band) for band in longest_first)),
        ("role", f"(?i:{'|'.join(ROLES)})"),
    ):
        text = text.replace(re.escape("{" + field + "}"), f"(?P<{field}>{expression})")
    return re.compile(text)
