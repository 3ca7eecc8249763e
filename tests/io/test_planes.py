"""What the HDUs of a file are taken for: role, band and, in stacks, object."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from psfex_file import make_model, write_psfex

from lenspipe.core.survey import load_survey
from lenspipe.io.layout import group_files
from lenspipe.io.planes import list_planes

IMAGE = np.zeros((6, 8), np.float32)


def planes_of(path, survey="des"):
    (one,) = group_files([str(path)], load_survey(survey))
    return list_planes(one, load_survey(survey))


def write(path, *hdus, **primary):
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), *hdus]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("survey", "filter_name", "band"),
    [
        ("hsc", "HSC-I2", "i"),
        ("hsc", "HSC-Y", "y"),
        ("cfhtls", "g.MP9401", "g"),
        ("decam", "zd DECam k1038", "z"),
        ("decam", "bokr", "r"),
        ("des", "r DECam SDSS c0002 6415.0 1480.0", "r"),
        ("lsst", "g_03", "g"),
        ("des", "clear", ""),
    ],
)
def test_a_filter_in_the_first_header_names_the_band(tmp_path, survey, filter_name, band):
    path = write(tmp_path / "a.fits", fits.ImageHDU(IMAGE), FILTER=filter_name)
    assert [plane.band for plane in planes_of(path, survey)] == [band]


def test_roles_by_the_survey_s_names_in_any_case(tmp_path):
    names = ("sci_g", "WGT_g", "Variance_Y", "RMS_i", "MSK_g", "PSF_g", "PSFSIZE_g")
    path = write(tmp_path / "a.fits", *(fits.ImageHDU(IMAGE, name=name) for name in names))
    assert [(plane.role, plane.band) for plane in planes_of(path)] == [
        ("image", "g"), ("weight", "g"), ("variance", "Y"), ("rms", "i"), ("mask", "g"), ("psf", "g"),
        ("psf_size", "g"),
    ]  # fmt: skip


def test_a_psf_model_is_a_plane_and_other_tables_are_none(tmp_path):
    write_psfex(tmp_path / "T_g.psf", make_model(1, 1.0))
    (plane,) = planes_of(tmp_path / "T_g.psf")
    assert (plane.role, plane.band, plane.hdu) == ("psf_model", "g", 1)
    table = fits.BinTableHDU.from_columns([fits.Column("A", "E", array=[1.0])], name="CATALOG")
    assert len(planes_of(write(tmp_path / "b.fits", fits.ImageHDU(IMAGE), table))) == 1


def test_one_image_a_band_is_no_stack_whatever_the_names(tmp_path):
    hdus = [
        fits.ImageHDU(IMAGE, fits.Header({"OBJECT": f"field {k}"}), name=f"X_{b}")
        for k, b in enumerate("gri")
    ]
    assert {plane.object for plane in planes_of(write(tmp_path / "a.fits", *hdus))} == {""}


def test_two_images_of_a_band_without_names_of_their_own_are_no_stack(tmp_path):
    hdus = [fits.ImageHDU(IMAGE, name=name) for name in ("SCI_g", "IMAGE_g")]
    assert {plane.object for plane in planes_of(write(tmp_path / "a.fits", *hdus))} == {""}
    same = [fits.ImageHDU(IMAGE, fits.Header({"OBJECT": "M 31", "BAND": "g"})) for _ in range(2)]
    assert {plane.object for plane in planes_of(write(tmp_path / "b.fits", *same))} == {""}


def test_cubes_hold_bands_or_objects(tmp_path):
    cube = np.zeros((5, 6, 8), np.float32)
    bands = planes_of(write(tmp_path / "bands.fits", fits.ImageHDU(cube)))
    assert [plane.band for plane in bands] == ["g", "r", "i", "z", "Y"]
    objects = planes_of(write(tmp_path / "objects.fits", fits.ImageHDU(cube, name="SCI_r")))
    assert [(plane.band, plane.object, plane.layer) for plane in objects] == [
        ("r", f"{k:05d}", k) for k in range(5)
    ]
    both = fits.ImageHDU(cube, fits.Header({"BANDS": "g r i z Y", "FILTER": "r"}))  # what it names counts
    assert [plane.band for plane in planes_of(write(tmp_path / "both.fits", both))] == [
        "g",
        "r",
        "i",
        "z",
        "Y",
    ]


def test_the_file_s_name_beats_the_header(tmp_path):
    (plane,) = planes_of(write(tmp_path / "T_g.fits", fits.ImageHDU(IMAGE, fits.Header({"BAND": "r"}))))
    assert plane.band == "g"
