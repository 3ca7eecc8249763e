"""How real do the simulations look, against the real fields at hand?

    python -m benchmarks.realism [--data ../shared/realdata] [--seed 1] [--field kids|hsc]

The realism probe (`lenspipe realism`) on a VST field of g, r, i and on four HSC blends in COSMOS. Of the blends,
two come as arrays with PSFs (one with variances, too): they are written to FITS first. Where blends overlap the
edge, stamps may lack a quarter. AUC 0.5 = real and simulated cannot be told apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from astropy.io import fits

from lenspipe.config import Config, config_from
from lenspipe.imaging.cutout import linear_wcs
from lenspipe.stages.realism import compare_with_sky, describe_realism

BANDS, HSC_SCALE = "grizy", 0.168
VST = 'extends = "kids"\nname = "vst"\npixel_scale = 0.339\n'  # KiDS on the grid of VIKING


def write_blends(folder: Path, out: Path) -> None:
    """Write the HSC blends with their PSFs (and variances) as FITS, one file each."""
    cubes = {name: fits.getdata(folder / f"{name}.fits") for name in ("Cut_HSC", "Cut_HSC1")}
    psfs = dict.fromkeys(cubes, fits.getdata(folder / "PSF_HSC.fits"))
    variances = {}
    for name in ("hsc_cosmos", "hsc_cosmos_35"):
        with np.load(folder / f"{name}.npz", allow_pickle=True) as arrays:
            cubes[name], psfs[name] = arrays["images"], arrays["psfs"]
            if "variance" in arrays:
                variances[name] = arrays["variance"]
    for name, cube in cubes.items():
        header = linear_wcs(HSC_SCALE, *(0.5 * (side - 1) for side in cube.shape[:0:-1])).to_header()
        hdus = [fits.PrimaryHDU()]
        for b, band in enumerate(BANDS):
            hdus.append(fits.ImageHDU(cube[b].astype(np.float32), header, name=f"IMAGE_{band}"))
            hdus.append(fits.ImageHDU(psfs[name][b].astype(np.float32), name=f"PSF_{band}"))
            if name in variances:
                hdus.append(fits.ImageHDU(variances[name][b], header, name=f"VARIANCE_{band}"))
        fits.HDUList(hdus).writeto(out / f"{name}.fits")


def recipe(field: str, data: Path, folder: Path, seed: int) -> Config:
    """Return the settings of one of the fields."""
    settings = {"survey": "hsc", "run": {"seed": seed}}
    ingest = {"kind": "tile", "images": [str(folder)]}
    if field == "kids":
        (folder / "vst.toml").write_text(VST)
        settings["survey"] = str(folder / "vst.toml")
        ingest |= {"images": [str(data / "kids_viking_field")], "size": 64}
    else:
        write_blends(data / "hsc_blends", folder)
        # as many of the galaxies as can be: faint ones, and those by the edge of their image, too
        ingest |= {"size": 20, "max_mag": 26.0, "min_snr": 5.0, "detect_pixels": 5, "max_bad_fraction": 0.5}
    return config_from({**settings, "ingest": ingest})


def main() -> None:
    """Print what the probe finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/realdata"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--field", choices=("kids", "hsc"))
    arguments = parser.parse_args()
    for field in [arguments.field] if arguments.field else ["kids", "hsc"]:
        with tempfile.TemporaryDirectory(prefix="lenspipe-") as folder:
            result = compare_with_sky(recipe(field, arguments.data, Path(folder), arguments.seed))
        print(field, *describe_realism(result), sep="\n")


if __name__ == "__main__":
    main()
