"""The progress bar of a log file, and of a terminal."""

from __future__ import annotations

import os
import pty
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

import pytest
from tqdm import tqdm

from megatinybert.runtime.progress_bar import progress_bar

Clocked = Callable[[int], tuple[tqdm, Callable[[float], None]]]


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Clocked:
    """Makes a bar of so many steps, by a clock that a function sets: (bar, function)."""

    def make(total: int) -> tuple[tqdm, Callable[[float], None]]:
        now = [0.0]
        monkeypatch.setattr(tqdm, "monitor_interval", 0)
        bar = progress_bar(total, "step", desc="distil")
        monkeypatch.setattr(bar, "_time", lambda: now[0])
        bar.start_t = bar.last_print_t = 0.0
        return bar, lambda seconds: now.__setitem__(0, float(seconds))

    return make


def test_a_log_file_gets_a_line_every_half_minute(clocked: Clocked, capsys: pytest.CaptureFixture[str]) -> None:
    bar, set_clock = clocked(200)
    for second in range(1, 101):
        set_clock(second)
        bar.update()
    bar.close()
    text = capsys.readouterr().err
    assert "\r" not in text
    lines = text.splitlines()
    assert [line.split("|")[-1].split()[0] for line in lines] == ["0/200", "30/200", "60/200", "90/200", "100/200"]
    assert all(line.startswith("distil: ") and line == line.strip() for line in lines)


def test_the_end_is_told_once_with_the_last_values(clocked: Clocked, capsys: pytest.CaptureFixture[str]) -> None:
    bar, set_clock = clocked(2)
    for second in (40, 80):
        set_clock(second)
        bar.update()
        bar.set_postfix_str(f"loss {second}", refresh=False)
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("|")[-1].split()[0] for line in lines] == ["0/2", "1/2", "2/2"]
    assert "[01:20<00:00" in lines[-1] and "loss 80" in lines[-1]


def test_a_bar_that_does_not_stay_leaves_no_blank_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2, "row", leave=False) as bar:
        bar.update(2)
    assert all(capsys.readouterr().err.splitlines())


def test_a_bar_beside_another_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2, "step") as bar, progress_bar(2, "batch", leave=False) as within:
        within.update(2)
        bar.update(2)
    text = capsys.readouterr().err
    assert "\x1b" not in text and all(text.splitlines())


@pytest.mark.parametrize(("rows", "columns", "width"), [(0, 0, 79), (0, 60, 59), (24, 0, 79), (24, 100, 99)])
def test_a_terminal_that_does_not_say_its_size_has_a_bar(
    rows: int, columns: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (rows, columns))
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(2, "step", desc="distil") as bar:
            bar.update(2)
    drawn = b""
    with suppress(OSError):  # which ends it, as nothing writes there any more
        while piece := os.read(screen, 10_000):
            drawn += piece
    os.close(screen)
    begun, ended = (state.strip("\n") for state in drawn.decode().replace("\r\n", "\n").split("\r")[1:])
    assert (len(begun), len(ended)) == (width, width) and "0/2" in begun and "2/2" in ended
