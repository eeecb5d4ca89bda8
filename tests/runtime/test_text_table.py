"""Tables fit the terminal, and numbers stand below one another."""

from __future__ import annotations

import os
import shutil

import pytest

from megatinybert.runtime.text_table import format_table


def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    assert format_table([("ok", "a", "word " * 20), ("fail", "bcd", "two\nlines")]) == (
        "ok    a    " + " ".join(["word"] * 14) + "\n           " + " ".join(["word"] * 6) + "\n"
        "fail  bcd  two\n           lines"
    )


def test_numbers_end_below_one_another() -> None:
    rows = [("", "teacher", "student", ""), ("layers", "12", "4", "3 x smaller"), ("", "", "", "")]
    assert format_table(rows, right_aligned=(1, 2)).split("\n") == [
        "        teacher  student",
        "layers       12        4  3 x smaller",
        "",
    ]


def test_wide_characters_take_two_columns() -> None:
    rows = [("体育", "3", "x"), ("news", "12", "y"), ("\uff2a", "1", "z")]
    assert format_table(rows, right_aligned=(1,)).split("\n") == ["体育   3  x", "news  12  y", "\uff2a     1  z"]
