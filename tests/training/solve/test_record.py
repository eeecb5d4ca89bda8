"""solved.json: written, read again, and put into words."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.training.solve.record import SolvingRecord, read_record, what_solving_gave, write_record

RECORD = SolvingRecord(tokens=34304, seconds=39.2, kept=0.95, errors=[0.015, 0.093])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    write_record(tmp_path, SolvingRecord(1, 1.0, 1.0, []))
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["solved.json"]


@pytest.mark.parametrize("text", ["{", '{"tokens": 1}', "[]"])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "solved.json").write_text(text)
    with pytest.raises(ValueError, match=r"solved.json is damaged .*: delete it"):
        read_record(tmp_path)


def test_in_words() -> None:
    assert what_solving_gave(RECORD, 0.39949, 0.667) == (
        "Solving alone, on 34,304 tokens in 39.2 s, gave a held-out total of 0.3995 and a probe of 0.667"
    )
    assert what_solving_gave(None, 2.0, None) == "Solving alone gave a held-out total of 2.000"
