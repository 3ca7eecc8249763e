from __future__ import annotations

import platform

from lenspipe.pipeline.provenance import describe_environment, package_versions, read_record


def test_versions_machine_and_records(tmp_path):
    environment = describe_environment()
    assert environment["python"] == platform.python_version()
    assert {"numpy", "keras", "astropy"} <= set(package_versions())
    assert read_record(tmp_path) == {}
    (tmp_path / "run.json").write_text('{"status": "do')
    assert read_record(tmp_path) == {}
