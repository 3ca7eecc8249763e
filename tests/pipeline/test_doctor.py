from __future__ import annotations

from lenspipe.pipeline.doctor import examine


def test_the_doctor_sees_the_machine_and_says_what_to_mend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    findings = {finding.subject: finding for finding in examine()}
    assert {
        "lenspipe",
        "python",
        "packages",
        "backend",
        "devices",
        "threads",
        "memory",
        "scratch",
        "scheduler",
    } == set(findings)
    assert findings["python"].good
    assert findings["backend"].good
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    sick = {finding.subject: finding for finding in examine()}["backend"]
    assert not sick.good
    assert "pip install" in sick.text
