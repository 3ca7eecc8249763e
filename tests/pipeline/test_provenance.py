from __future__ import annotations

import platform

from lenspipe.pipeline.provenance import describe_environment, package_versions


def test_versions_and_machine():
    environment = describe_environment()
    assert environment["python"] == platform.python_version()
    assert {"numpy", "keras", "astropy"} <= set(package_versions())
