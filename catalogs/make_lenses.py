"""Make lenses.ecsv and slacs.ecsv: lenses with Einstein radii, velocity dispersions and redshifts.

    python catalogs/make_lenses.py FOLDER/simplemc_Strong_Lensing_196.txt

The numbers are those of the surveys' papers as Amante et al. 2020 (arXiv:1906.04107) put them together; the file is
that of github.com/ja-vazquez/SimpleMC. It names neither lenses nor apertures, and gives no source for 51 rows: which
rows are whose was found by their redshifts (`PARTS`); seven whose source was not found are left out. Three dispersions
are not those of Auger et al. 2009 and are mended (`MENDED`). Apertures are those of the spectrographs: SDSS' fibres of
3 arcsec for SLACS and S4TM, BOSS' of 2 arcsec for BELLS and its gallery, under 1.4 arcsec of seeing; of others, seen
through slits of many widths, none is told. Where no error of theta_e is given, 5 % stand: a choice, wider than what
single models state.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

#: Last line of the file -> survey (none = left out), source where the file has none, radius of the aperture [arcsec].
PARTS = (
    (13, "SLACS", "Bolton et al. 2008; Auger et al. 2009", 1.5),
    (17, "quasars", "", np.nan),
    (24, "", "", np.nan),
    (47, "BELLS", "Brownstein et al. 2012", 1.0),
    (102, "SLACS", "Auger et al. 2009", 1.5),
    (106, "LSD", "", np.nan),
    (137, "SL2S", "", np.nan),
    (152, "BELLS GALLERY", "", 1.0),
    (156, "SL2S", "", np.nan),
    (196, "S4TM", "", 1.5),
    (197, "quasars", "", np.nan),
)
SEEING = 1.4
#: (z_lens, z_src, sigma_v in the file) -> name and sigma_v of Auger et al. 2009, table 3.
MENDED = {
    (0.180, 0.875, 269): ("SDSSJ1153+4612", 226),
    (0.185, 0.514, 221): ("SDSSJ1313+4615", 263),
    (0.285, 0.805, 281): ("SDSSJ1436-0000", 224),
}
THETA_E_ERROR = 0.05


def read_lenses(path: Path) -> Table:
    """Return the lenses of the compilation, mended, with survey, source and aperture."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        values, _, said = line.partition("#")
        if not values.strip():
            continue
        z_lens, z_src, theta_e, theta_e_err, sigma_v, sigma_v_err = map(float, values.split()[:6])
        survey, source, radius = next(part[1:] for part in PARTS if number <= part[0])
        if not survey:
            continue
        said = said.strip().removesuffix("ff")
        name, mended = MENDED.get((z_lens, z_src, sigma_v), ("", sigma_v))
        rows.append(
            {
                "name": name or f"{survey} {number}",
                "survey": survey,
                "z_lens": z_lens,
                "z_src": z_src,
                "theta_e": theta_e,
                "theta_e_err": theta_e_err or round(THETA_E_ERROR * theta_e, 3),
                "sigma_v": mended,
                "sigma_v_err": sigma_v_err,
                "aperture_radius": radius,
                "seeing_fwhm": SEEING if np.isfinite(radius) else np.nan,
                "source": source or said,
                "note": f"sigma_v was {sigma_v:.0f} in the compilation, Auger et al. 2009 have {mended}"
                if mended != sigma_v
                else "",
            }
        )
    table = Table(rows)
    for column, unit in (("theta_e", "arcsec"), ("sigma_v", "km / s")):
        table[column].unit = table[f"{column}_err"].unit = unit
    table["aperture_radius"].unit = table["seeing_fwhm"].unit = "arcsec"
    table.meta = {"comments": ["made by catalogs/make_lenses.py, which tells the sources"]}
    return table


def main() -> None:
    """Write the tables beside this file."""
    lenses = read_lenses(Path(sys.argv[1]))
    folder = Path(__file__).parent
    lenses.write(folder / "lenses.ecsv", format="ascii.ecsv", overwrite=True)
    slacs = lenses[lenses["survey"] == "SLACS"]
    slacs.write(folder / "slacs.ecsv", format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
