"""Make colours.csv: k-corrections of GalSim's CWW spectra through filters (development only).

Run it again with ``python -m lenspipe.simulate.make_colours``; it needs galsim and speclite, which
lenspipe itself does not.

For each template and redshift the table holds m_band - M_ref - DM(z): what must be added to an
absolute magnitude and the distance modulus to get the observed AB magnitude. M_ref is rest-frame
DECam r for early types (Hyde & Bernardi's M_r) and rest-frame Johnson V (AB) for the star-forming ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BANDS = {name: f"decam2014-{name}" for name in ("u", "g", "r", "i", "z", "Y")} | {
    "VIS": "Euclid-VIS", "NISP_Y": "Euclid-Y", "NISP_J": "Euclid-J", "NISP_H": "Euclid-H",
}  # fmt: skip
#: speclite has no HST: box filters between the edges [Angstrom] of the instrument handbooks (from memory).
BOXES = {"F814W": (7078.0, 9589.0), "F160W": (14028.0, 16711.0)}
#: Name -> spectrum, reference band, E(B-V) taken out of it. Distant star-forming galaxies are bluer than
#: the local irregulars of CWW: LensPop's sources at z = 2 have g - i of about 0, where Im has 0.35.
TEMPLATES = {
    "early": ("CWW_E_ext.sed", "r", 0.0),
    "spiral": ("CWW_Sbc_ext.sed", "V", 0.0),
    "blue": ("CWW_Im_ext.sed", "V", 0.0),
    "starburst": ("CWW_Im_ext.sed", "V", 0.17),
}
REDSHIFTS = np.round(np.concatenate([np.arange(0.0, 2.0, 0.02), np.arange(2.0, 6.01, 0.05)]), 3)


def main() -> None:
    """Write colours.csv beside this file."""
    import galsim
    import speclite.filters

    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    curves = {}
    for name, curve in (BANDS | {"V": "bessell-V"}).items():
        loaded = speclite.filters.load_filter(curve)
        curves[name] = np.asarray(loaded.wavelength), np.asarray(loaded.response)
    for name, (low, high) in BOXES.items():
        curves[name] = np.linspace(low, high, 200), np.ones(200)
    columns = [*BANDS, *BOXES]
    lines = ["template,redshift," + ",".join(columns)]
    for name, (file, reference, dust) in TEMPLATES.items():
        wave, flux = np.loadtxt(folder / file, unpack=True)
        flux = flux * 10 ** (0.4 * dust * calzetti(wave))
        rest = _ab_magnitude(*curves[reference], wave, flux, 0.0)
        for z in REDSHIFTS:
            k = [_ab_magnitude(*curves[band], wave, flux, z) - rest for band in columns]
            lines.append(f"{name},{z:g}," + ",".join(f"{value:.4f}" for value in k))
    Path(__file__).with_name("colours.csv").write_text("\n".join(lines) + "\n")


def calzetti(wave: np.ndarray) -> np.ndarray:
    """Return A(lambda) / E(B-V) of star-forming galaxies, wave in Angstrom (Calzetti et al. 2000, eq. 4)."""
    um = np.clip(wave / 1e4, 0.12, 2.2)  # its range
    ultraviolet = 2.659 * (-2.156 + 1.509 / um - 0.198 / um**2 + 0.011 / um**3) + 4.05
    infrared = 2.659 * (-1.857 + 1.040 / um) + 4.05
    return np.where(um < 0.63, ultraviolet, infrared)


def _ab_magnitude(
    grid: np.ndarray, response: np.ndarray, wave: np.ndarray, flux: np.ndarray, z: float
) -> float:
    """Return the AB magnitude, up to a constant, of f_lambda(wave) seen at z at a fixed luminosity.

    With the luminosity distance taken out, f_lambda scales as 1 / (1 + z) and wavelengths as 1 + z.
    """
    fine = np.linspace(grid[0], grid[-1], 2000)
    through = np.interp(fine, grid, response)
    seen = np.interp(fine, wave * (1 + z), flux / (1 + z), left=0.0, right=flux[-1] / (1 + z))
    energy = np.trapezoid(seen * through * fine, fine)
    norm = np.trapezoid(through / fine, fine)
    return -2.5 * np.log10(max(energy / norm, 1e-30 * flux.max() * fine[0] ** 2))


if __name__ == "__main__":
    main()
