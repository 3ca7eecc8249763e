"""How good is a detector on real skies?

    python -m benchmarks.sky DETECTOR... [--test SET] [--data ../shared/realdata] [--seed 1]

DETECTOR is a packaged model's name or a bundle's folder, made for g, r, i; several score as a committee. The
threshold is that which keeps 90 % of the lenses of SET, simulations that it has not seen (empty: 4,000 stamps of its
survey are simulated).

- A VST field without a known lens (2,600 x 1,300 px): how many of its objects lie above the threshold?
- Lenses painted into that field's own galaxies: how many of those with theta_e > 1.2 arcsec and S/N > 30 are found?
- Real lenses: what share of the field's objects do they rank above? The HST ring, one band, is brought to DES'
  pixels, PSF and noise, the same in all bands: its colours are not known.

Images of another pixel scale than the detector's are resampled to it, as `lenspipe scan --resample` does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import gaussian_filter
from scipy.stats import beta

from benchmarks.command import lenspipe
from lenspipe.core.survey import Survey, load_survey, same_scale
from lenspipe.imaging.cutout import linear_wcs
from lenspipe.io.cards import read_card, stamps_of
from lenspipe.io.shards import has_masks, read_shard
from lenspipe.io.tables import read_table
from lenspipe.lensing.gaussians import moffat_gaussians
from lenspipe.stages.inject import hosts_of, numbers_of, spoilt
from lenspipe.training.metrics import score_metrics

VST = 'extends = "kids"\nname = "vst"\npixel_scale = {scale!r}\n'
#: The field's grid, that of VIKING [arcsec per pixel].
FIELD_SCALE = 0.339
#: Real lenses: files, survey, position [deg].
LENSES = {
    "DES J0330-5228": ("des_J0330-5228_grizY", "des", (52.73722, -52.47028)),
    "SL2S J142209+524652": ("cfhtls_patch", "cfhtls", (215.5375, 52.7811)),
}
RING_SCALE = 0.05
#: Figures on simulations.
TOLD = ("auroc", "tpr_at_fpr_1e-3", "tpr_at_fpr_1e-4", "tpr10")
#: How often lenses are painted into the field; least theta_e [arcsec] and S/N of those that must be found.
PAINTED, CLEAR = 10, (1.2, 30.0)
#: What is brighter is no host: the field's bright stars are saturated, which no header of it tells [mag].
BRIGHTEST = 16.0


def find_threshold(detectors: list[str], survey: str, size: int, test: str, seed: int, folder: Path) -> float:
    """Return the score that 90 % of simulated lenses reach; print what the detectors' figures on them are."""
    if not test:
        test = str(folder / "set")
        words = ("--survey", survey, "--count", "4000", "--seed", str(900 + seed), "--out", test)
        lenspipe("simulate", *words, "--set", f"simulate.size={size}")
    lenspipe("predict", *detectors, "--data", test, "--out", str(folder / "predictions.parquet"))
    score = np.asarray(read_table(folder / "predictions.parquet")["score"])
    truth = read_table(Path(test) / "truth.parquet")
    label = (np.asarray(truth["kind"], str) == "lens").astype(int)
    metrics = score_metrics(label, score, np.asarray(truth["group"]))
    told = (f"{name} {metrics[name]:.4f} +- {metrics[f'{name}_err']:.4f}" for name in TOLD)
    print(f"{len(label):,} simulations: {', '.join(told)}")
    return float(np.quantile(score[label == 1], 0.1))


def scan_field(detectors: list[str], data: Path, scale: float, folder: Path) -> tuple[Path, np.ndarray]:
    """Search the VST field; return the run and the scores of its objects."""
    (folder / "field.toml").write_text(VST.format(scale=FIELD_SCALE))
    run = folder / "field"
    resample = () if same_scale(scale, FIELD_SCALE) else ("--resample",)
    words = ("scan", str(data / "kids_viking_field"), "--survey", str(folder / "field.toml"), "--as", "tile")
    lenspipe(*words, "--out", str(run), *_detectors(detectors), *resample)
    return run, np.asarray(read_table(run / "scores.parquet")["score"])


def find_painted(detectors: list[str], run: Path, scale: float, seed: int, folder: Path) -> np.ndarray:
    """Paint lenses round the galaxies of a run's stamps, another at each time; return the scores of the clear ones."""
    from lenspipe.simulate.hosts import draw_reference
    from lenspipe.simulate.inject import inject
    from lenspipe.training.bundle import load_bundle
    from lenspipe.training.committee import score_committee

    path = folder / "painted.toml"
    path.write_text(VST.format(scale=scale))
    bundles, survey, found = [load_bundle(one) for one in detectors], load_survey(str(path)), []
    for stamps in hosts_of(run):
        # arcs are not seen in pixels that could not be used
        real = read_shard(stamps, masks=has_masks(stamps))
        objects = read_table(stamps.with_suffix(".parquet"))
        hosts = numbers_of(objects)
        usable = ~spoilt(objects) & (np.asarray(objects["mag_r"]) > BRIGHTEST)
        reference = draw_reference(survey, seed, real.bands, CLEAR[1])
        reference = reference[np.asarray(reference["theta_e"]) > CLEAR[0]]
        for k in range(PAINTED):
            image, _, truth = inject(real, survey, seed + k, hosts, reference, "lens", CLEAR[1], True)
            clear = (
                (truth["reason"] == "") & (truth["theta_e"] > CLEAR[0]) & (truth["snr"] > CLEAR[1]) & usable
            )
            rows = np.flatnonzero(clear)
            if len(rows):
                mask = None if real.mask is None else real.mask[rows]
                stamp = image[rows], real.noise_sigma[rows]
                found.append(score_committee(bundles, *stamp, mc_samples=20, seed=seed, mask=mask).score)
    return np.concatenate(found) if found else np.empty(0)


def score_lens(detectors: list[str], name: str, data: Path, folder: Path) -> float:
    """Return the score of a real lens at its place in its image."""
    images, survey, (ra, dec) = LENSES[name]
    place = folder / f"{survey}.ecsv"
    Table({"object_id": [name], "ra": [ra], "dec": [dec]}).write(place, overwrite=True)
    words = ("scan", str(data / images), "--survey", survey, "--as", "tile", "--targets", str(place))
    lenspipe(*words, "--out", str(folder / survey), *_detectors(detectors), "--resample")
    return float(read_table(folder / survey / "scores.parquet")["score"][0])


def _detectors(detectors: list[str]) -> list[str]:
    return [word for one in detectors for word in ("--detector", one)]


def degrade_ring(data: Path, survey: Survey, size: int, rng: np.random.Generator, folder: Path) -> None:
    """Write the HST ring as the survey would see it, the same AB magnitudes in each band."""
    with fits.open(data / "hst_ring" / "DCLS0353-1706_F200LP.fits") as hdus:
        image, header = np.nan_to_num(np.asarray(hdus[0].data, float)), hdus[0].header
    # AB zero point of counts/s (Bohlin et al. 2011); nJy: 31.4
    zero_point = (
        -2.5 * np.log10(header["PHOTFLAM"]) + header["PHOTZPT"] - 5 * np.log10(header["PHOTPLAM"]) + 18.6921
    )
    image = (image - np.median(np.concatenate([image[:5].ravel(), image[-5:].ravel()]))) * 10 ** (
        0.4 * (31.4 - zero_point)
    )
    factor = survey.pixel_scale / RING_SCALE
    fine = np.pad(image, int(0.5 * size * factor))
    for name in survey.model_bands:
        band = survey.bands[name]
        blurred = sum(
            weight * gaussian_filter(fine, sigma * band.psf_fwhm / RING_SCALE)
            for sigma, weight in zip(*moffat_gaussians(band.psf_beta), strict=True)
        )
        flux = bin_image(blurred, factor, size)
        gain = band.electrons_per_njy()
        sigma = band.sky_sigma(survey.pixel_scale)
        noise = rng.normal(size=flux.shape) * np.sqrt(sigma**2 + np.maximum(flux, 0) / gain)
        header = linear_wcs(survey.pixel_scale, 0.5 * (size - 1), 0.5 * (size - 1)).to_header()
        header["MAGZERO"] = 31.4
        hdus = [
            fits.PrimaryHDU((flux + noise).astype(np.float32), header),
            fits.ImageHDU(np.full_like(flux, sigma**-2.0), header, name="WEIGHT"),
        ]
        fits.HDUList(hdus).writeto(folder / f"ring_{name}.fits")


def bin_image(image: np.ndarray, factor: float, size: int) -> np.ndarray:
    """Return the middle of an image on `size` pixels `factor` times larger, each the sum of what it covers."""
    edges = [0.5 * side + factor * (np.arange(size + 1) - 0.5 * size) for side in image.shape]
    for axis, bounds in enumerate(edges):
        total = np.cumsum(np.insert(np.moveaxis(image, axis, 0), 0, 0.0, axis=0), axis=0)
        low = np.floor(bounds).astype(int)
        part = (bounds - low)[:, None]
        image = np.moveaxis(np.diff((1 - part) * total[low] + part * total[low + 1], axis=0), 0, axis)
    return image


def interval(found: int, of: int) -> str:
    """Return a share with its 68 % interval (Clopper & Pearson 1934)."""
    low = beta.ppf(0.16, found, of - found + 1) if found else 0.0
    high = beta.ppf(0.84, found + 1, of - found) if found < of else 1.0
    return f"{100 * found / max(of, 1):.2f} % ({found} of {of}; 68 %: {100 * low:.2f} to {100 * high:.2f})"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("detector", nargs="+")
    parser.add_argument("--test", default="")
    parser.add_argument("--data", type=Path, default=Path("../shared/realdata"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    card = read_card(options.detector[0], "detector")
    form, survey = stamps_of(card), card["training"]["survey"]
    with tempfile.TemporaryDirectory(prefix="lenspipe-") as name:
        folder = Path(name)
        threshold = find_threshold(options.detector, survey, form.size, options.test, options.seed, folder)
        print(f"90 % of simulated lenses score above {threshold:.4f}")
        run, field = scan_field(options.detector, options.data, form.pixel_scale, folder)
        print(f"VST field, objects above it: {interval(int((field > threshold).sum()), len(field))}")
        lenses = {one: score_lens(options.detector, one, options.data, folder) for one in LENSES}
        (folder / "ring").mkdir()
        degrade_ring(
            options.data, load_survey("des"), form.size, np.random.default_rng(options.seed), folder / "ring"
        )
        table = folder / "ring.parquet"
        words = ("--data", str(folder / "ring"), "--survey", "des", "--out", str(table), "--resample")
        lenspipe("predict", *options.detector, *words)
        lenses["DCLS J0353-1706 as DES would see it"] = float(read_table(table)["score"][0])
        for one, value in lenses.items():
            print(
                f"{one}: score {value:.4f}, above {100 * np.mean(field < value):.1f} % of the field's objects"
            )
        painted = find_painted(options.detector, run, form.pixel_scale, options.seed, folder)
        print(
            f"clear lenses painted into it, above it: {interval(int((painted > threshold).sum()), len(painted))}"
        )


if __name__ == "__main__":
    main()
