"""Galaxy colours against what is known of galaxies, and against GalSim's own integration of the spectra."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey, survey_names
from lenspipe.lensing.cosmology import distance_modulus
from lenspipe.simulate.colours import flux_njy, k_correction, observed_magnitude


@pytest.mark.parametrize(("template", "file"), [("early", "CWW_E_ext.sed"), ("blue", "CWW_Im_ext.sed")])
@pytest.mark.parametrize("z", [0.1, 0.5, 1.5])
def test_colours_agree_with_galsim(template, file, z):
    speclite = pytest.importorskip("speclite.filters", reason="speclite's DECam filters made the table")
    spectrum = galsim.SED(file, wave_type="Ang", flux_type="flambda").atRedshift(z)
    theirs = {}
    for name in "gri":
        curve = speclite.load_filter(f"decam2014-{name}")
        table = galsim.LookupTable(
            np.asarray(curve.wavelength), np.asarray(curve.response), interpolant="linear"
        )
        theirs[name] = spectrum.calculateMagnitude(
            galsim.Bandpass(table, wave_type="Ang").withZeropoint("AB")
        )
    for blue, red in (("g", "r"), ("r", "i")):
        ours = k_correction(template, blue, z) - k_correction(template, red, z)
        assert ours == pytest.approx(theirs[blue] - theirs[red], abs=0.02)


def test_k_correction_vanishes_where_it_must():
    assert k_correction("early", "r", 0.0) == pytest.approx(0.0, abs=1e-3)  # its reference is r at rest
    assert observed_magnitude("early", "r", 0.3, -22.0) - k_correction("early", "r", 0.3) == pytest.approx(
        distance_modulus(0.3) - 22.0
    )


def test_early_types_are_red_and_star_forming_ones_blue():
    z = np.linspace(0.1, 1.0, 10)
    for blue, red in (("g", "r"), ("r", "i")):
        early = k_correction("early", blue, z) - k_correction("early", red, z)
        late = k_correction("blue", blue, z) - k_correction("blue", red, z)
        assert np.all(early > late + 0.2)


def test_bands_in_the_red_continue_those_in_the_blue():
    # wavelengths: i 0.78, F814W 0.83, VIS 0.72, NISP Y 1.08, J 1.37, H 1.77, F160W 1.54 um
    order = ("g", "VIS", "i", "F814W", "NISP_Y", "NISP_J", "F160W", "NISP_H")
    for template in ("early", "spiral"):
        k = [float(k_correction(template, band, 1.0)) for band in order]
        assert np.all(np.diff(k) < 0.1), (template, k)


def test_starbursts_are_irregulars_without_their_dust():
    # Calzetti et al. 2000: E(B-V) of 0.17 less makes g - i at z = 2 (160 and 260 nm) 0.45 mag bluer
    blue, starburst = (k_correction(t, "g", 2.0) - k_correction(t, "i", 2.0) for t in ("blue", "starburst"))
    assert blue - starburst == pytest.approx(0.4, abs=0.1)


def test_names_of_bands():
    assert k_correction("early", "y", 0.5) == k_correction("early", "Y", 0.5)
    assert np.isfinite(k_correction("blue", "vis", 1.0))
    for name in survey_names():  # each packaged survey can be simulated
        for band in load_survey(name).bands:
            assert np.isfinite(k_correction("early", band, 0.5))
    with pytest.raises(ConfigError, match="band 'H'"):
        k_correction("early", "H", 0.5)
    with pytest.raises(ConfigError, match="band 'redshift'"):
        k_correction("early", "redshift", 0.5)


def test_flux():
    assert flux_njy(31.4) == pytest.approx(1.0)
    assert flux_njy([np.nan, 28.9]) == pytest.approx([0.0, 10.0])
