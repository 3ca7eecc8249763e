"""Between pixels and the sky: every position goes through `sky_of` and `pixels_of`, whatever the header says.

A header can hold any nonsense that a WCS may be made of. It is found when the header is read; after that a position
that is nowhere is NaN, and never an error.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import FK5, ICRS, BaseCoordinateFrame, Galactic, SkyCoord, angular_separation
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike

from lenspipe.core.errors import Rejected

#: Pixels beyond are nowhere, and do not fit an integer safely.
_FARTHEST = 1e9
#: A position has been found where going there and back ends no farther from it: on the sky [arcsec], in pixels.
_SAME_PLACE, _SAME_PIXEL = 1.0, 0.25
#: CTYPE of axes that are just pixels.
_PLAIN = ("", "LINEAR", "PIXEL", "PIXELS", "X", "Y")
_FURTHER_AXES = re.compile(
    r"WCSAXES|(NAXIS|CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[3-9]|(CD|PC)([3-9]_\d|\d_[3-9])"
)
_EQUINOXES = (1800.0, 2200.0)


def read_wcs(
    header: Any, shape: tuple[int, int] | None = None, band: str = "", path: str = ""
) -> tuple[WCS | None, float | None]:
    """Return the celestial WCS of a header and its pixel scale [arcsec], (None, None) where no CTYPE names a sky.

    Parameters
    ----------
    header : astropy.io.fits.Header
    shape : (int, int), optional
        Rows and columns of the image; by default what the header says, else one pixel.
    band, path : str
        What the message names.

    Raises
    ------
    Rejected
        ``bad_wcs:<band>`` where the header names a sky that cannot be used: it cannot be read, its frame is none
        of the sky's, or a corner or the centre of the image does not come back to its pixel.
    """
    if all(str(header.get(key, "")).strip().upper() in _PLAIN for key in ("CTYPE1", "CTYPE2")):
        return None, None
    rows, columns = shape or (header.get("NAXIS2", 1), header.get("NAXIS1", 1))
    try:
        # astropy's remarks on old keywords (RADECSYS) help nobody here
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _read(header, int(rows), int(columns))
    except MemoryError:
        raise
    except Exception as error:  # the library raises whatever its parts raise
        types = " and ".join(repr(header.get(key, "")) for key in ("CTYPE1", "CTYPE2"))
        detail = f"the sky coordinates ({types}) cannot be used: {_last_line(error)}; mend or remove them"
        raise Rejected(f"bad_wcs:{band}", detail, path) from None


def sky_of(wcs: WCS, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS ra, dec [deg] of pixel positions (0-based, of any one shape); NaN where there is no sky.

    FK5 of J2000 is ICRS to some 20 mas, and left as it is.
    """
    native = _transform(wcs.all_pix2world, x, y)
    ra, dec = native[::-1] if _latitude_first(wcs) else native
    frame = _other_frame(wcs)
    return (ra, dec) if frame is None else _turn(ra, dec, frame, ICRS())


def pixels_of(wcs: WCS, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels x, y (0-based) of ICRS positions [deg]; NaN where a position has none.

    A distortion is a polynomial that means nothing far from the image, and may bring any position onto it: what
    does not lead back to its position within 1 arcsec has no pixel.
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
    real = np.isfinite(ra) & (np.abs(dec) <= 90.0)
    ra, dec = np.where(real, ra, np.nan), np.where(real, dec, np.nan)
    frame = _other_frame(wcs)
    native = (ra, dec) if frame is None else _turn(ra, dec, ICRS(), frame)
    x, y = _transform(wcs.all_world2pix, *(native[::-1] if _latitude_first(wcs) else native), quiet=True)
    away = angular_separation(*np.radians((ra, dec, *sky_of(wcs, x, y)))) * 206264.8
    with np.errstate(invalid="ignore"):
        found = (away <= _SAME_PLACE) & (np.abs(x) < _FARTHEST) & (np.abs(y) < _FARTHEST)
    return np.where(found, x, np.nan), np.where(found, y, np.nan)


def sky_steps(wcs: WCS, x: float, y: float) -> np.ndarray:
    """Return how far to the east and north [deg] (rows) a step in x and in y (columns) leads at a pixel: (2, 2)."""
    ra, dec = np.radians(sky_of(wcs, x, y))
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    a, d = np.radians(sky_of(wcs, x + np.array([0.5, -0.5, 0, 0]), y + np.array([0, 0, 0.5, -0.5])))
    place = np.array(
        [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)]
    )  # unit vectors: good at a pole too
    steps = np.stack([place[:, 0] - place[:, 1], place[:, 2] - place[:, 3]], axis=1)
    return np.degrees(np.stack([east @ steps, north @ steps]))


def _read(header: Any, rows: int, columns: int) -> tuple[WCS, float]:
    for key in ("CRVAL1", "CRVAL2"):  # the library takes what is missing, or a text, for 0
        if isinstance(header.get(key, ""), str):
            raise ValueError(f"{key} is no number")
    if isinstance(header.get("EQUINOX"), str) and "2000" not in header["EQUINOX"]:
        raise ValueError(f"EQUINOX = {header['EQUINOX']!r} is no number")
    wcs = WCS(_of_two_axes(header)).celestial
    if not wcs.has_celestial:
        raise ValueError("no pair of axes is a sky")
    if _longitude(wcs) == "GLON":
        wcs.wcs.radesys = ""  # beside galactic axes the library would take RADESYS = ICRS for their frame
    _check_frame(wcs)
    _check_round_trip(wcs, rows, columns)
    scales = proj_plane_pixel_scales(wcs) * 3600.0
    if not np.all(np.isfinite(scales)) or scales.min() <= 0:
        raise ValueError(f"pixels of {scales[0]:.3g} x {scales[1]:.3g} arcsec")
    return wcs, float(np.sqrt(scales[0] * scales[1]))


def _of_two_axes(header: Any) -> Any:
    """Return a header without its axes of bands: the library cannot take a TPV sky out of a cube."""
    plane = header.copy()
    for key in [key for key in header if _FURTHER_AXES.fullmatch(key)]:
        plane.remove(key, ignore_missing=True, remove_all=True)
    if plane.get("NAXIS", 2) > 2:
        plane["NAXIS"] = 2
    return plane


def _check_frame(wcs: WCS) -> None:
    if _longitude(wcs) not in ("RA--", "GLON"):
        raise ValueError("only RA/DEC and GLON/GLAT are known")
    if not (np.isnan(wcs.wcs.equinox) or _EQUINOXES[0] < wcs.wcs.equinox < _EQUINOXES[1]):
        raise ValueError(f"EQUINOX = {wcs.wcs.equinox:g} is no year")
    try:
        _other_frame(wcs)
    except ValueError:
        raise ValueError(f"RADESYS = {wcs.wcs.radesys!r} is none of ICRS, FK5, FK4 and FK4-NO-E") from None


def _check_round_trip(wcs: WCS, rows: int, columns: int) -> None:
    x = np.array([0, columns - 1, 0, columns - 1, (columns - 1) / 2])
    y = np.array([0, 0, rows - 1, rows - 1, (rows - 1) / 2])
    back = pixels_of(wcs, *sky_of(wcs, x, y))
    away = np.maximum(np.abs(back[0] - x), np.abs(back[1] - y))
    for k in np.flatnonzero(~(away <= _SAME_PIXEL)):
        raise ValueError(f"pixel ({x[k]:g}, {y[k]:g}) has no place on the sky that leads back to it")


def _last_line(error: Exception) -> str:
    """Return the last line of what a library says: the first ones of wcslib's are its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[-1] if lines else type(error).__name__).rstrip(".")
    return text.encode("ascii", "replace").decode()


def _transform(
    function: Callable[..., Any], a: ArrayLike, b: ArrayLike, **how: Any
) -> tuple[np.ndarray, ...]:
    """Return what a WCS's function gives for positions of any one shape, NaN for all where it raises."""
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = function(a.ravel(), b.ravel(), 0, **how)
        except MemoryError:
            raise
        except Exception:  # singular, invalid, not converging: the library has a class for each
            found = np.full((2, a.size), np.nan)
    return tuple(np.where(np.isfinite(c), c, np.nan).reshape(a.shape) for c in np.asarray(found, float))


def _latitude_first(wcs: WCS) -> bool:
    return wcs.wcs.ctype[0][:4] in (
        "DEC-",
        "GLAT",
    )  # to ask for wcs.wcs.lat would raise for a singular matrix


def _longitude(wcs: WCS) -> str:
    return wcs.wcs.ctype[int(_latitude_first(wcs))][:4]


def _other_frame(wcs: WCS) -> BaseCoordinateFrame | None:
    """Return the frame of a WCS, None where its coordinates are ICRS or as good as."""
    return _frame_of(_longitude(wcs), wcs.wcs.radesys, float(wcs.wcs.equinox))


@lru_cache(maxsize=64)
def _frame_of(longitude: str, radesys: str, equinox: float) -> BaseCoordinateFrame | None:
    if longitude == "GLON":
        return Galactic()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys, wcs.wcs.equinox = ["RA---TAN", "DEC--TAN"], radesys, equinox
    frame = wcs_to_celestial_frame(wcs)
    same = isinstance(frame, ICRS) or (isinstance(frame, FK5) and frame.is_equivalent_frame(FK5()))
    return None if same else frame


def _turn(lon: ArrayLike, lat: ArrayLike, start: Any, end: Any) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90.0)
    place = SkyCoord(np.where(good, lon, 0.0), np.where(good, lat, 0.0), unit="deg", frame=start)
    turned = place.transform_to(end).spherical
    return np.where(good, turned.lon.deg, np.nan), np.where(good, turned.lat.deg, np.nan)


#: HEALPix cells of 1.7 arcmin: depth changes little within one, and one holds a dozen targets or more.
NSIDE = 2048


def sky_cells(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Return the HEALPix cells (NSIDE 2048, nested, ICRS) of positions.

    Parameters
    ----------
    ra, dec : array (n,)
        deg; what is no position (NaN, dec beyond the poles) has cell -1.

    Returns
    -------
    ndarray (n,), int64
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    placed = np.isfinite(ra) & (np.abs(dec) <= 90)
    cells = np.full(len(ra), -1, dtype="i8")
    sky = HEALPix(nside=NSIDE, order="nested")
    cells[placed] = sky.lonlat_to_healpix(ra[placed] * u.deg, dec[placed] * u.deg)
    return cells


def sky_groups(ra: ArrayLike, dec: ArrayLike, otherwise: np.ndarray) -> np.ndarray:
    """Return k-fold groups (n,) of stamps of the real sky: the cell, so that no galaxy is on both sides of a fold.

    Cell c is group -1 - c, apart from the numbers >= 0 of simulated hosts; what has no position keeps
    `otherwise` (n,).
    """
    cells = sky_cells(ra, dec)
    return np.where(cells >= 0, -1 - cells, np.asarray(otherwise, np.int64))
