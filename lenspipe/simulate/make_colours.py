"""Make colours.csv: k-corrections of GalSim's CWW spectra through DECam filters (development only).

Run it again with ``python -m lenspipe.simulate.make_colours``; it needs galsim and speclite, which
lenspipe itself does not.

For each template and redshift the table holds m_band - M_ref - DM(z): what must be added to an
absolute magnitude and the distance modulus to get the observed AB magnitude. M_ref is rest-frame
DECam r for early types (Hyde & Bernardi's M_r) and rest-frame Johnson V (AB) for the star-forming ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BANDS = ("u", "g", "r", "i", "z", "Y")
TEMPLATES = {
    "early": ("CWW_E_ext.sed", "r"),
    "spiral": ("CWW_Sbc_ext.sed", "V"),
    "blue": ("CWW_Im_ext.sed", "V"),
}
REDSHIFTS = np.round(np.concatenate([np.arange(0.0, 2.0, 0.02), np.arange(2.0, 6.01, 0.05)]), 3)


def main() -> None:
    """Write colours.csv beside this file."""
    import galsim
    import speclite.filters

    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    curves = {band: speclite.filters.load_filter(f"decam2014-{band}") for band in BANDS}
    curves["V"] = speclite.filters.load_filter("bessell-V")
    lines = ["template,redshift," + ",".join((*BANDS, "VIS"))]
    for name, (file, reference) in TEMPLATES.items():
        wave, flux = np.loadtxt(folder / file, unpack=True)
        rest = _ab_magnitude(curves[reference], wave, flux, 0.0)
        for z in REDSHIFTS:
            k = {band: _ab_magnitude(curves[band], wave, flux, z) - rest for band in BANDS}
            # Euclid's VIS spans r, i and z: the mean flux density over its 550-900 nm
            k["VIS"] = -2.5 * np.log10(np.mean([10 ** (-0.4 * k[band]) for band in "riz"]))
            lines.append(f"{name},{z:g}," + ",".join(f"{k[band]:.4f}" for band in (*BANDS, "VIS")))
    Path(__file__).with_name("colours.csv").write_text("\n".join(lines) + "\n")


def _ab_magnitude(curve, wave: np.ndarray, flux: np.ndarray, z: float) -> float:
    """Return the AB magnitude, up to a constant, of f_lambda(wave) seen at z at a fixed luminosity.

    With the luminosity distance taken out, f_lambda scales as 1 / (1 + z) and wavelengths as 1 + z.
    """
    grid, response = np.asarray(curve.wavelength), np.asarray(curve.response)
    fine = np.linspace(grid[0], grid[-1], 2000)
    through = np.interp(fine, grid, response)
    seen = np.interp(fine, wave * (1 + z), flux / (1 + z), left=0.0, right=flux[-1] / (1 + z))
    energy = np.trapezoid(seen * through * fine, fine)
    norm = np.trapezoid(through / fine, fine)
    return -2.5 * np.log10(max(energy / norm, 1e-30 * flux.max() * fine[0] ** 2))


if __name__ == "__main__":
    main()
