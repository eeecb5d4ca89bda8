"""The progress bar of a build."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from megatinybert.corpus.blocks import Block
from megatinybert.corpus.manifest import SourceEntry
from megatinybert.corpus.sources import Source
from megatinybert.runtime.progress_bar import progress_bar


class BuildBar:
    """The progress bar, in bytes of the files, with the speed in bytes of text and in tokens. It goes when it is
    closed: the summary of the build tells the speed.

    seen: what earlier runs of the build have read: the bar begins there, and no speed counts it. seconds: when it is
    closed, those of this run's blocks.
    """

    def __init__(self, sources: list[Source], shown: bool, seen: Sequence[SourceEntry] = ()) -> None:
        self._shown = shown
        self._before = [0]
        for source in sources:
            self._before.append(self._before[-1] + source.size)
        self._bar = progress_bar(
            self._before[-1],
            "B",
            initial=self._before[len(seen) - 1] + min(seen[-1].text_bytes, seen[-1].bytes) if seen else 0,
            postfix="passing over what is done" if seen else None,
            unit_scale=True,
            disable=not shown,
            leave=False,
            bar_format="{percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt}, {remaining} left{postfix}",
        )
        self._began = time.monotonic()
        self.text_bytes = self.tokens = 0
        self.seconds = 0.0

    def __enter__(self) -> BuildBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._elapsed()
        self._bar.close()

    def say(self, line: str) -> None:
        """Show a line above the bar."""
        if self._shown:
            self._bar.write(line, file=sys.stderr)

    def begin_after(self, block: Block) -> None:
        """Count from here on. block: the last of earlier runs, which has been passed over."""
        self._bar.n = self._bar.initial = self._bar.last_print_n = self._end_of(block)
        self._bar.unpause()
        self._began = time.monotonic()

    def show(self, block: Block, tokens: int) -> None:
        """Count a block that this run has encoded."""
        self.text_bytes += len(block.data)
        self.tokens += tokens
        self._bar.set_postfix_str(speed(self.text_bytes, self.tokens, self._elapsed()), refresh=False)
        self._bar.update(self._end_of(block) - self._bar.n)

    def _end_of(self, block: Block) -> int:
        """How far it reaches into the files."""
        return self._before[block.source] + block.file_bytes

    def _elapsed(self) -> float:
        return max(time.monotonic() - self._began, 1e-9)


def speed(text_bytes: int, tokens: int, seconds: float) -> str:
    """Of text and tokens. seconds: above 0."""
    return f"{text_bytes / seconds / 1e6:.3g} MB/s, {tokens / seconds:,.0f} tokens/s"
