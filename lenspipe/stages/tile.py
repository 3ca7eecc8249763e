"""A tile or cutout with its bands open: what calibrates them, how they lie to each other, and stamps cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenspipe.config import Config
from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Survey, same_scale
from lenspipe.core.types import BandImage, Calibration, Quarantined, RawBand, StampFormat
from lenspipe.imaging.astrometry import pixels_of, sky_of
from lenspipe.imaging.stamps import pixel_ratio
from lenspipe.stages.targets import select_sources

Window = tuple[slice, slice]  # rows, columns of the first band
_MARGIN = 64  # px, at least
_SURE = 200  # sources that show that two bands are aligned


@dataclass(frozen=True)
class Piece:
    """Some objects of a tile: stamps and their mask (n, y, x, band), noise, PSF and gain (n, band), and what is known.

    `objects` has the columns of `core.schema.object_columns` but `name`, and `edge_distance` [px]; `rejected`
    are those left out. `psf_image` (band, k, k) holds a star on the stamps' pixels, where the survey gives one.
    `found` counts the targets looked at, `not_selected` the sources that `targets.where` took away.
    """

    flux: np.ndarray
    mask: np.ndarray
    noise_sigma: np.ndarray
    psf_fwhm: np.ndarray
    electrons_per_njy: np.ndarray
    objects: Any
    rejected: tuple[Quarantined, ...] = ()
    psf_image: np.ndarray | None = None
    found: int = 0
    not_selected: int = 0


def load_band(planes, band: str, survey: Survey, form: StampFormat, config: Config) -> BandImage:
    """Return one band of an image set whole, calibrated and without its sky; `Rejected` if it cannot be used."""
    from lenspipe.imaging.calibrate import calibrate_image
    from lenspipe.io.bands import open_bands

    with open_bands(planes, (band,)) as bands:
        cal = _calibrate(bands[band], survey, form, config)
        return calibrate_image(_with_sky(bands[band].read(), cal), cal)


class Tile:
    """The open bands of a tile with their calibrations."""

    def __init__(self, image_set, bands, survey: Survey, form: StampFormat, config: Config, cutout=False):
        self.name, self.path = image_set.name, image_set.files[0].path
        self.bands, self.form, self.config = bands, form, config
        self.first = survey.detection_band if survey.detection_band in form.bands else form.bands[0]
        self.cals = {band: _calibrate(bands[band], survey, form, config) for band in form.bands}
        self.shape, self.cal = bands[self.first].shape, self.cals[self.first]
        self.psf_beta = survey.bands[self.first].psf_beta
        self.moved = {band: self._is_moved(band) for band in form.bands}
        self.rescaled = {band: pixel_ratio(cal.pixel_scale, form) != 1.0 for band, cal in self.cals.items()}
        from lenspipe.imaging.psf import stack_psfs

        self.psf_image = stack_psfs([self._psf_of_stamps(band) for band in form.bands])
        self.is_cutout = cutout or _is_cutout(self.shape, self.cal.pixel_scale, form, config)
        scales = [form.pixel_scale / cal.pixel_scale for cal in self.cals.values()]
        self.margin = max(_MARGIN, int(0.8 * form.size * max(1.0, *scales)) + 8)
        self._read: dict[str, tuple[Window, RawBand]] = {}
        self._offsets: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}  # of sources between the bands
        self._widths: dict[str, Any] = {}

    def cut(self, targets, window: Window, left_out: Sequence[Quarantined] = ()) -> Piece:
        """Return the stamps of targets whose stamps lie in a window of the first band, and who was left out."""
        from lenspipe.imaging.stamps import judge_stamps, stack_bands

        x, y = np.asarray(targets["x"], float), np.asarray(targets["y"], float)
        cuts = {band: self._cut_band(band, x, y, window) for band in self.form.bands}
        self._check_alignment(cuts, window)
        bands = [cuts[band] for band in self.form.bands]
        reasons = judge_stamps(
            bands, self.form, self.config.ingest.max_bad_fraction, edges=not self.is_cutout
        )
        stamps = stack_bands(bands)
        keep = np.array([not reason for reason in reasons], bool)
        objects = self._describe(targets, stamps)
        rejected = (
            *left_out,
            *(
                Quarantined(self.path, *reason.split(": ", 1), unit=self.name, object=str(name))
                for name, reason in zip(targets["object_id"], reasons, strict=True)
                if reason
            ),
        )
        wanted = select_sources(self.config, objects)  # after what cannot be measured has been named
        not_selected = int((keep & ~wanted).sum())
        keep &= wanted
        count = int(keep.sum())
        gain = np.float32([self.cals[band].electrons_per_njy for band in self.form.bands])
        local = {
            "psf_fwhm": np.stack([self._psf_fwhm(band, x[keep], y[keep], window) for band in cuts], axis=-1),
            "electrons_per_njy": np.tile(gain, (count, 1)),
        }
        planes = (stamps.flux, stamps.mask) if keep.all() else (stamps.flux[keep], stamps.mask[keep])
        return Piece(
            *planes,
            stamps.noise_sigma[keep],
            objects=objects[keep],
            rejected=rejected,
            psf_image=self.psf_image,
            found=len(targets) + len(left_out),
            not_selected=not_selected,
            **local,
        )

    def _cut_band(self, band: str, x: np.ndarray, y: np.ndarray, window: Window):
        from lenspipe.imaging.calibrate import calibrate_image
        from lenspipe.imaging.stamps import cut_pixels, cut_stamps

        rows, columns = window
        if not self.moved[band] and not self.rescaled[band]:
            raw = self.window(band, window)
            return cut_pixels(raw, self.cals[band], x - columns.start, y - rows.start, self.form.size)
        place = self._window_of(band, window) if self.moved[band] else window
        image = calibrate_image(self.window(band, place), self.cals[band], x=place[1].start, y=place[0].start)
        grid = (self.cal.wcs[rows, columns], self.cal.pixel_scale) if self.moved[band] else None
        return cut_stamps(image, x - columns.start, y - rows.start, self.form, grid)

    def _psf_of_stamps(self, band: str) -> np.ndarray | None:
        """Return a band's PSF image on the stamps' pixels; None where reprojection turns and blurs it."""
        image = self.cals[band].psf_image
        if image is None or self.moved[band]:
            return None
        from lenspipe.imaging.psf import resample_psf

        return resample_psf(image, pixel_ratio(self.cals[band].pixel_scale, self.form))

    def _psf_fwhm(self, band: str, x: np.ndarray, y: np.ndarray, window: Window) -> np.ndarray:
        """Return the PSF's FWHM [arcsec] of a band where objects are."""
        from lenspipe.imaging.psf import psf_width
        from lenspipe.imaging.psfmodel import look_up_width, width_over

        opened, cal = self.bands[band], self.cals[band]
        if self.moved[band] and len(x):
            window = self._window_of(band, window)
            x, y = np.nan_to_num(pixels_of(cal.wcs, *sky_of(self.cal.wcs, x, y)))
        if opened.has_psf_size and len(x):
            kept = self._widths.get(band)
            if kept is None or kept[0] != window:
                kept = self._widths[band] = (window, opened.read_psf_size(*window))
            return look_up_width(kept[1], x - window[1].start, y - window[0].start, cal.psf_fwhm)
        if opened.psf_model is None:
            return np.full(len(x), cal.psf_fwhm, np.float32)
        if band not in self._widths:
            self._widths[band] = width_over(opened.psf_model, opened.shape, psf_width)
        return np.float32(self._widths[band](x, y) * cal.pixel_scale)

    def _window_of(self, band: str, window: Window) -> Window:
        """Return the part of another grid that a window of the first band's covers; at least two pixels."""
        rows, columns = window
        steps = [np.linspace(s.start - 0.5, s.stop - 0.5, 33) for s in (columns, rows)]
        moved = np.array(
            pixels_of(self.cals[band].wcs, *sky_of(self.cal.wcs, *map(np.ravel, np.meshgrid(*steps))))
        )
        moved = moved[:, np.isfinite(moved).all(axis=0)]
        out = []
        for axis, length in ((1, self.bands[band].shape[0]), (0, self.bands[band].shape[1])):
            low, high = (moved[axis].min(), moved[axis].max()) if moved.size else (0.0, 0.0)
            start = int(np.clip(np.floor(low) - 8, 0, max(0, length - 2)))
            out.append(slice(start, int(np.clip(np.ceil(high) + 8, start + min(2, length), length))))
        return out[0], out[1]

    def window(self, band: str, window: Window) -> RawBand:
        """Return the pixels of a window with their background; the last one read is kept."""
        kept = self._read.get(band)
        if kept is None or kept[0] != window:
            kept = (window, _with_sky(self.bands[band].read(*window), self.cals[band]))
            self._read[band] = kept
        return kept[1]

    def _is_moved(self, band: str) -> bool:
        from lenspipe.imaging.cutout import same_grid

        moved = not same_grid(self.cals[band].wcs, self.bands[band].shape, self.cal.wcs, self.shape)
        if moved and (self.cals[band].wcs is None or self.cal.wcs is None):
            raise Rejected(
                f"grid_mismatch:{band}",
                f"{self.bands[band].shape} pixels against {self.shape} in {self.first}, and no WCS",
                self.bands[band].path,
            )
        return moved

    def _check_alignment(self, cuts, window: Window) -> None:
        """Refuse a band whose sources are not where those of the first one are."""
        from lenspipe.imaging.align import compare_bands, judge_alignment
        from lenspipe.imaging.calibrate import calibrate_image
        from lenspipe.imaging.detect import detect_sources

        first = cuts[self.first]
        for band, stamps in cuts.items():
            known = self._offsets.get(band, (np.zeros(0), np.zeros(0), 0))
            if band == self.first or self.is_cutout or len(known[0]) >= _SURE:
                continue
            here = compare_bands(first.flux, first.noise_sigma, stamps.flux, stamps.noise_sigma)
            dx, dy = (np.concatenate([known[k], here[k]]) for k in (0, 1))
            self._offsets[band] = (dx, dy, known[2] + here[2])
            reason, doubtful = judge_alignment(*self._offsets[band])
            if doubtful:
                place = self._window_of(band, window) if self.moved[band] else window
                found = detect_sources(calibrate_image(self.window(band, place), self.cals[band]))
                reason = reason if (found["snr"] > 30).sum() >= max(1, 0.5 * here[2]) else ""
            if reason:
                detail = f"{band} and {self.first} do not show the same sky: {reason}"
                raise Rejected(f"misaligned:{band}", detail, self.bands[band].path)

    def _describe(self, targets, stamps) -> Any:
        """Return the targets with sky positions, photometry, flags and distance to the edge."""
        from astropy.table import Table

        from lenspipe.imaging.cutout import measure_aperture
        from lenspipe.imaging.photometry import point_like

        x, y = np.asarray(targets["x"], float), np.asarray(targets["y"], float)
        height, width = self.shape
        known = self.cal.wcs is not None and len(x) > 0
        ra, dec = sky_of(self.cal.wcs, x, y) if known else np.full((2, len(x)), np.nan)
        table = Table(
            {"object_id": np.asarray(targets["object_id"], str), "x": x, "y": y, "ra": ra, "dec": dec}
        )
        table["edge_distance"] = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y])
        flux, error = measure_aperture(stamps.flux, stamps.noise_sigma, self.form.pixel_scale)
        with np.errstate(invalid="ignore", divide="ignore"):
            mag = NJY_ZERO_POINT - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
            snr = flux / error
        for b, band in enumerate(self.form.bands):
            table[f"mag_{band}"], table[f"snr_{band}"] = mag[:, b], snr[:, b]
        b = self.form.bands.index(self.first)
        seen = stamps.flux[..., b], stamps.noise_sigma[:, b]
        star = point_like(*seen, self.cal.psf_fwhm, self.form.pixel_scale, self.psf_beta)
        table["flags"] = stamps.flags | np.where(star, int(Flag.POINT_LIKE), 0)
        table["tile"] = np.full(len(table), self.name)
        return table


def _calibrate(band, survey: Survey, form: StampFormat, config: Config) -> Calibration:
    """Return the calibration of an open band with noise and background measured on its pixels."""
    from lenspipe.imaging.calibrate import read_calibration
    from lenspipe.imaging.psfmodel import psf_at, typical_width
    from lenspipe.imaging.sky import measure_levels, sample_rows, settle_levels

    height, width = band.shape
    psf, fwhm = band.psf, None
    if band.psf_model is not None:
        psf = psf_at(band.psf_model, (width - 1) / 2, (height - 1) / 2)
    if band.has_psf_size:
        fwhm = typical_width(band.read_psf_size(sample_rows(height)[0]))
    cal = read_calibration(
        band.band, band.header, survey, band.path, band.noise_kind, band.mask_header, psf, fwhm, band.shape
    )
    if not same_scale(cal.pixel_scale, form.pixel_scale) and not config.ingest.resample:
        raise Rejected(
            "pixel_scale",
            f"{cal.pixel_scale:.4g} arcsec per pixel, the model needs {form.pixel_scale:g}; use --resample",
            band.path,
        )
    ratio = form.pixel_scale / cal.pixel_scale
    if not 1.0 / _MOST_RATIO < ratio < _MOST_RATIO:
        detail = f"{cal.pixel_scale:.3g} arcsec per pixel cannot be resampled to {form.pixel_scale:g}"
        raise Rejected("pixel_scale", detail, band.path)
    whole = band.shape[0] * band.shape[1] <= _WHOLE
    rows = [slice(0, band.shape[0])] if whole else sample_rows(band.shape[0])
    levels = measure_levels((band.read(part) for part in rows), cal)
    return settle_levels(cal, levels, band.shape)


#: Pixels may be so many times larger or smaller than a stamp's.
_MOST_RATIO = 16.0
#: Images of so many pixels are looked at whole.
_WHOLE = 500_000


def _with_sky(raw: RawBand, cal: Calibration) -> RawBand:
    from lenspipe.imaging.sky import measure_sky

    return measure_sky(raw, cal) if cal.sky is None else raw


def _is_cutout(shape: tuple[int, int], pixel_scale: float, form: StampFormat, config: Config) -> bool:
    if config.ingest.kind != "auto":
        return config.ingest.kind == "cutout"
    return max(shape) * pixel_scale <= 4 * form.size * form.pixel_scale
