"""Which files belong together, and which band and role each name tells.

Names are read by the survey's own patterns first, then by their words: ``DES0325_g_wht.fits`` has the
band ``g`` and the role ``weight``; what is left, ``DES0325``, names the tile.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lenspipe.core.errors import InputError
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageFile, ImageSet

SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz")

#: Words in file names -> what the pixels are.
ROLES = {
    "sci": "image",
    "img": "image",
    "image": "image",
    "ooi": "image",
    "wht": "weight",
    "wgt": "weight",
    "weight": "weight",
    "invvar": "weight",
    "oow": "weight",
    "var": "variance",
    "variance": "variance",
    "rms": "rms",
    "msk": "mask",
    "mask": "mask",
    "ood": "mask",
    "dq": "mask",
    "psf": "psf",
}
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]+(?![A-Za-z0-9])")


def find_images(inputs: Sequence[str]) -> list[str]:
    """Return the FITS files that files, folders and glob patterns name, in order, each once.

    A file that is named but not there is kept: the run goes on and names it in the quarantine table.

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
                raise InputError(f"no FITS files ({', '.join(SUFFIXES)}) in the folder {item}")
        elif any(c in item for c in "*?[") and not path.exists():
            matches = sorted(str(p) for p in Path(path.anchor or ".").glob(item.removeprefix(path.anchor)))
            if not matches:
                raise InputError(f"no file matches {item!r}")
        else:
            matches = [item]
        found.update(dict.fromkeys(matches))
    if all(not Path(path).exists() for path in found):
        raise InputError(f"no such file: {', '.join(list(found)[:3])}")
    return list(found)


def group_files(paths: Iterable[str], survey: Survey) -> list[ImageSet]:
    """Return the image sets that the files make: one a tile or cutout, in order of their names."""
    sets: dict[tuple[str, str], list[ImageFile]] = {}
    for path in paths:
        name, file = parse_name(path, survey)
        sets.setdefault((name, str(Path(path).parent)), []).append(file)
    names = [name for name, _ in sets]
    out = []
    for (name, folder), files in sorted(sets.items()):
        if names.count(name) > 1:  # the same tile name in two folders: two tiles
            name = f"{name}@{hashlib.sha256(folder.encode()).hexdigest()[:6]}"
        out.append(ImageSet(name, tuple(sorted(files, key=lambda file: file.path))))
    return out


def parse_name(path: str, survey: Survey) -> tuple[str, ImageFile]:
    """Return the tile's name, and the band and role that a file's name tells (empty if it does not)."""
    base = Path(path).name
    for pattern in survey.layout.pattern:
        match = _pattern(pattern, survey).fullmatch(base)
        if match:
            groups = match.groupdict()
            role = ROLES.get(groups.get("role", "").lower(), "")
            return groups.get("tile") or stem(base), ImageFile(path, groups.get("band", ""), role)
    name = stem(base)
    name, band = _take_word(name, lambda word: word if word in survey.bands else "")
    name, role = _take_word(name, lambda word: ROLES.get(word.lower(), ""))
    return name or stem(base), ImageFile(path, band, role)


def stem(name: str) -> str:
    """Return a file's name without its FITS suffix."""
    lower = name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
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


def _pattern(pattern: str, survey: Survey) -> re.Pattern[str]:
    text = re.escape(pattern)
    for field, expression in (
        ("tile", r".+"),
        ("band", "|".join(re.escape(band) for band in survey.bands)),
        ("role", "|".join(ROLES)),
    ):
        text = text.replace(re.escape("{" + field + "}"), f"(?P<{field}>{expression})")
    return re.compile(text, re.IGNORECASE if "{role}" in pattern else 0)
