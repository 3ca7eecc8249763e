from __future__ import annotations

import io
import json
import os

from rich.console import Console

from lenspipe.pipeline.journal import Journal, chatter_to


def test_without_a_terminal_a_line_per_ten_percent(tmp_path):
    screen = io.StringIO()
    journal = Journal(tmp_path / "log.jsonl", Console(file=screen, width=200))
    journal.start_stage("ingest", 40, 0)
    for _ in range(40):
        journal.advance()
    journal.end_stage("40/40 units", done=40)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("ingest    4/40 (")
    assert lines[-1] == "ingest    40/40 units"
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["stage_started", "stage_ended"]
    assert events[1]["done"] == 40


def test_on_a_terminal_a_bar(tmp_path):
    screen = io.StringIO()
    journal = Journal(tmp_path / "log.jsonl", Console(file=screen, width=100, force_terminal=True))
    journal.start_stage("find", 4, 1)
    journal.advance()
    journal.end_stage("4/4 units")
    assert "2/4" in screen.getvalue()
    journal.close()


def test_chatter_of_libraries_goes_to_its_file(tmp_path, capfd):
    with chatter_to(tmp_path / "chatter.log"):
        os.write(2, b"oneDNN custom operations are on\n")
    os.write(2, b"for people\n")
    assert (tmp_path / "chatter.log").read_text() == "oneDNN custom operations are on\n"
    assert capfd.readouterr().err == "for people\n"
