"""How fast are tiles read, searched and cut, and in how much memory? Against astropy, photutils and the disk.

    python -m benchmarks.ingest [--size 10000] [--folder DIR]

The tile: DES, g, r and i with weights and masks, simulated at 2,000 px (galaxies, stars, lenses) and repeated to
the size asked for, with new noise everywhere. Cutouts, the same for both: pixels of three bands and their weights
in memory, targets by sky position, raw stamps out, against a loop of `astropy.nddata.Cutout2D`. Then the whole way
of ours, from files to calibrated stamps without background, with photometry, noise and flags, against that loop.
Reading: bytes that the rows with targets hold per second, few targets, against a plain read of the same files and
against the disk (its cache dropped before each). Detection: against photutils
called directly on the same pixels. Memory: of a process that scans the whole tile, and of one that scans a small
tile again and again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from astropy.wcs import WCS
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.config import Config, config_from
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageSet
from lenspipe.imaging.astrometry import pixels_of
from lenspipe.imaging.cutout import cut_many
from lenspipe.io.layout import find_images, group_files
from lenspipe.stages.pieces import read_pieces
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.tile import load_band

SURVEY, BANDS, SEED = load_survey("des"), ("g", "r", "i"), 1
CELL = 2000  # px, of the simulated tile that is repeated
CONSOLE = Console()


def make_tile(folder: Path, size: int) -> None:
    """Write the tile, one file a band."""
    from lenspipe.config import TilesSection
    from lenspipe.simulate.tiles import draw_sky, render_tile, tile_wcs

    section = TilesSection(count=1, size=min(CELL, size), lenses=20)
    cell = render_tile(SURVEY, SEED, 0, draw_sky(SURVEY, SEED, section, BANDS), section, BANDS)
    wcs = tile_wcs(SURVEY, TilesSection(count=1, size=size), 0)
    repeats = -(-size // section.size)
    rng = np.random.default_rng(SEED)
    for b, band in enumerate(BANDS):
        header = wcs.to_header()
        header.update({"BAND": band, "MAGZERO": 31.4, "PSF_FWHM": float(cell["psf_fwhm"][b])})
        hdus = fits.HDUList([fits.PrimaryHDU()])
        for name, kind in (("SCI", "flux"), ("WGT", "weight"), ("MSK", "mask")):
            plane = cell[kind][..., b]
            whole = np.tile(plane, (repeats, repeats))[:size, :size].astype(plane.dtype)
            if kind == "flux":  # half the variance again, so that no two cells are the same
                sigma = float(np.nanmedian(1 / np.sqrt(cell["weight"][..., b][cell["weight"][..., b] > 0])))
                whole += rng.standard_normal(whole.shape, np.float32) * np.float32(0.7 * sigma)
            elif kind == "weight":
                whole /= np.float32(1.49)
            hdus.append(fits.ImageHDU(whole, header, name=name))
        hdus.writeto(folder / f"big_{band}.fits", overwrite=True)


def configure(folder: Path, targets: str = "") -> tuple[Config, ImageSet]:
    """Return a configuration for the tile, and its files."""
    settings = {
        "survey": "des",
        "targets": {"table": targets},
        "ingest": {"images": [str(folder / "big_*.fits")]},
    }
    config = config_from(settings, "benchmark")
    (image_set,) = group_files(find_images(config.ingest.images), SURVEY)
    return config, image_set


def drop_cache(folder: Path) -> None:
    """Make the kernel forget the files' pages."""
    for path in folder.glob("big_*.fits"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def draw_targets(folder: Path, size: int, count: int) -> Table:
    """Write and return targets that lie well inside the tile."""
    wcs = WCS(fits.getheader(folder / "big_g.fits", 1))
    x, y = np.random.default_rng(count).uniform(60, size - 60, (2, count))
    ra, dec = wcs.all_pix2world(x, y, 0)
    table = Table({"id": np.arange(count), "ra": ra, "dec": dec, "x": x, "y": y})
    table.write(folder / "targets.csv", overwrite=True)
    return table


def time_ours(folder: Path, size: int, count: int) -> float:
    """Return seconds from files to stamps of `count` targets."""
    draw_targets(folder, size, count)
    config, image_set = configure(folder, targets=str(folder / "targets.csv"))
    started = time.perf_counter()
    found = sum(len(p.objects) for p in read_pieces(image_set, SURVEY, stamp_format(config), config))
    seconds = time.perf_counter() - started
    assert found > 0.95 * count, f"{found} of {count} targets"
    return seconds


def time_cutting(folder: Path, size: int, count: int) -> float:
    """Return seconds per target of our cutting: three bands and their weights, pixels in memory."""
    targets = draw_targets(folder, size, count)
    planes = []
    for band in BANDS:
        with fits.open(folder / f"big_{band}.fits") as hdus:
            planes.append(
                (WCS(hdus["SCI"].header), [np.asarray(hdus[n].data, np.float32) for n in ("SCI", "WGT")])
            )
    started = time.perf_counter()
    for start in range(0, count, 512):  # as a survey does: no more in memory than it needs
        some = targets[start : start + 512]
        for wcs, pixels in planes:
            x, y = pixels_of(wcs, some["ra"], some["dec"])
            for data in pixels:
                cut_many(data, x, y, SURVEY.stamp_size)
    return (time.perf_counter() - started) / count


def time_cutout2d(folder: Path, size: int, count: int, sky: bool) -> float:
    """Return seconds per target of a plain loop: three bands and their weights, pixels in memory."""
    targets = draw_targets(folder, size, count)
    planes = []
    for band in BANDS:
        with fits.open(folder / f"big_{band}.fits") as hdus:
            wcs = WCS(hdus["SCI"].header)
            planes += [(np.asarray(hdus[name].data, np.float32), wcs) for name in ("SCI", "WGT")]
    places = (
        SkyCoord(targets["ra"], targets["dec"], unit="deg")
        if sky
        else zip(targets["x"], targets["y"], strict=True)
    )
    side = SURVEY.stamp_size
    started = time.perf_counter()
    for place in places:
        for data, wcs in planes:
            Cutout2D(data, place, side, wcs=wcs, mode="partial", fill_value=np.nan, copy=True)
    return (time.perf_counter() - started) / count


def time_reading(folder: Path) -> tuple[float, float]:
    """Return bytes per second of a plain read and of ours (every row holds a target), cache dropped."""
    paths = sorted(folder.glob("big_*.fits"))
    drop_cache(folder)
    started = time.perf_counter()
    total = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(2**22):
                total += len(piece)
    plain = total / (time.perf_counter() - started)
    config, image_set = configure(folder, targets=str(folder / "targets.csv"))
    drop_cache(folder)
    started = time.perf_counter()
    for _ in read_pieces(image_set, SURVEY, stamp_format(config), config):
        pass
    return plain, total / (time.perf_counter() - started)


def time_detection(folder: Path, size: int) -> tuple[float, float, int, int]:
    """Return seconds and sources of ours, in blocks, and of photutils on the whole at once."""
    from astropy.convolution import Gaussian2DKernel, convolve
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources

    from lenspipe.imaging.blocks import cut_image
    from lenspipe.imaging.detect import detect_in_blocks

    config, image_set = configure(folder)
    from lenspipe.io.planes import list_planes

    whole = load_band(list_planes(image_set, SURVEY), "i", SURVEY, stamp_format(config), config)
    side = min(size, 3000)
    image = cut_image(whole, slice(0, side), slice(0, side))
    started = time.perf_counter()
    ours = detect_in_blocks(image, slice(0, side), 64)
    mine = time.perf_counter() - started
    started = time.perf_counter()
    bad = ~np.isfinite(image.flux)
    background = Background2D(
        image.flux, 128, mask=bad, filter_size=3, bkg_estimator=MedianBackground(), exclude_percentile=90
    )
    flux = np.where(bad, 0, image.flux - background.background)
    kernel = Gaussian2DKernel(image.psf_fwhm / image.pixel_scale / 2.3548)
    smooth = convolve(flux, kernel)
    noise = np.where(bad, np.inf, image.sigma) * np.sqrt((kernel.array**2).sum())
    measured = sigma_clipped_stats(smooth[::3, ::3], sigma=3.0, maxiters=10)[2]
    noise *= max(1.0, measured / np.median(noise))  # noise may be correlated: the same threshold as ours
    segments = detect_sources(smooth, 3.0 * noise, 8, mask=bad)
    segments = deblend_sources(smooth, segments, 8, n_levels=16, contrast=0.005, progress_bar=False)
    catalog = SourceCatalog(
        flux, segments, convolved_data=smooth, error=np.where(bad, 0, image.sigma), mask=bad
    )
    theirs = len(catalog.x_centroid) + 0 * len(catalog.segment_flux) + 0 * len(catalog.segment_flux_err)
    return mine, time.perf_counter() - started, len(ours), theirs


def scan(folder: Path, times: int) -> None:
    """Search and cut the tile, print peak memory after each time: run in a process of its own."""
    config, image_set = configure(folder)
    for _ in range(times):
        started, count = time.perf_counter(), 0
        for piece in read_pieces(image_set, SURVEY, stamp_format(config), config):
            count += len(piece.objects)
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory, too
        peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
        print(f"{count} {time.perf_counter() - started:.1f} {peak:.3f}", flush=True)


def scan_apart(folder: Path, times: int) -> list[list[float]]:
    """Return objects, seconds and peak memory [GiB] of each scan."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--folder", str(folder), "--scan", str(times)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return [[float(word) for word in line.split()] for line in answer.stdout.splitlines()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--folder", default="")
    parser.add_argument("--scan", type=int, default=0)
    options = parser.parse_args()
    if options.scan:
        scan(Path(options.folder), options.scan)
        return
    with tempfile.TemporaryDirectory(dir=options.folder or None) as scratch:
        folder, size = Path(scratch), options.size
        make_tile(folder, size)
        count = size * size // 5000
        table = Printed(title=f"one tile of {size} x {size} px, g r i with weights and masks")
        for column in ("what", "lenspipe", "against", "ratio"):
            table.add_column(column)
        loops = {kind: time_cutout2d(folder, size, 200, kind == "sky") for kind in ("sky", "pixel")}
        for label, ours in (
            ("raw cutouts/s, from memory", time_cutting(folder, size, count)),
            ("calibrated cutouts/s, from files", time_ours(folder, size, count) / count),
        ):
            for kind, other in loops.items():
                table.add_row(
                    f"{label} ({count} targets)",
                    f"{1 / ours:.0f}",
                    f"Cutout2D by {kind} position {1 / other:.0f}",
                    f"{other / ours:.0f}",
                )
        draw_targets(folder, size, size // 10)  # few, so that the time is that of reading
        plain, read = time_reading(folder)
        table.add_row(
            "MB/s, cold", f"{read / 1e6:.0f}", f"plain read {plain / 1e6:.0f}", f"{read / plain:.2f}"
        )
        mine, theirs, found, others = time_detection(folder, size)
        table.add_row(
            f"detection, s ({found} / {others} sources)",
            f"{mine:.1f}",
            f"photutils {theirs:.1f}",
            f"{mine / theirs:.2f} of its time",
        )
        linear = [time_ours(folder, size, n) / n for n in (count // 4, count)]
        table.add_row(
            "us a target, a quarter / all", f"{1e6 * linear[0]:.0f} / {1e6 * linear[1]:.0f}", "", ""
        )
        ((objects, seconds, peak),) = scan_apart(folder, 1)
        table.add_row(
            "scan of the whole tile", f"{seconds:.0f} s, {objects:.0f} objects", f"peak {peak:.2f} GiB", ""
        )
        small = folder / "small"
        small.mkdir()
        make_tile(small, 1500)
        again = scan_apart(small, 12)
        table.add_row(
            "peak, GiB: first, third, last of 12 scans",
            " / ".join(f"{again[k][2]:.2f}" for k in (0, 2, -1)),
            "",
            "",
        )
        CONSOLE.print(table)


if __name__ == "__main__":
    main()
