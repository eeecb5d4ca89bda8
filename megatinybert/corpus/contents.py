"""What is found in the text of a build: records that cannot be read, unknown tokens, scripts, and duplicates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.duplicates import SeenDocuments, joined
from megatinybert.corpus.encode import VALIDATION, Documents, EncodedBlock
from megatinybert.corpus.left_out import LeftOutList
from megatinybert.corpus.manifest import Record
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.vocabulary import scripts_of

_FEW_RECORDS = 10_000  # below so many a share says little
# Copies of a text are in one split. So the splits are looked at apart, and it does not matter in which order.
_OF_VALIDATION = np.uint64(0xA5A5A5A55A5A5A5A)


@dataclass(frozen=True)
class ContentRules:
    """share: of the records that may be left out. unknown: the id of [UNK], if any. names: for messages."""

    share: float
    drop_duplicates: bool
    unknown: int | None
    names: OptionNames


class Contents(Record):
    """What was found so far.

    records: JSON objects and rows, and lines of .txt files, those left out included. counted: False where the build
    began before tokens and documents were looked at. seen_documents: different ones. scripts: letters by script, in
    samples; characters: those of samples that are beyond ASCII, with counts. open_hash, open_tokens, open_unknown: of a
    long document that continues in the next block.
    """

    records: int = 0
    left_out_records: int = 0
    left_out_bytes: int = 0
    counted: bool = False
    unknown_tokens: int = 0
    duplicate_documents: int = 0
    seen_documents: int = 0
    scripts: dict[str, int] = Field(default_factory=dict)
    characters: dict[str, int] = Field(default_factory=dict)
    open_hash: int = 0
    open_tokens: int = 0
    open_unknown: int = 0


class ContentRecorder:
    """Looks at what is written, and keeps its files such that a build can resume from the last commit."""

    def __init__(self, folder: Path, start: Contents, rules: ContentRules) -> None:
        self._folder, self._rules, self._counted = folder, rules, start.counted
        self._records, self._bad = start.records, start.left_out_records
        self._unknown, self._duplicates = start.unknown_tokens, start.duplicate_documents
        self._scripts, self._characters = Counter(start.scripts), Counter(start.characters)
        self._hash, self._tokens, self._open_unknown = start.open_hash, start.open_tokens, start.open_unknown
        self._list = LeftOutList(folder, start.left_out_bytes)
        self._seen = SeenDocuments(folder, start.seen_documents) if start.counted else None

    def close(self) -> None:
        self._list.close()
        if self._seen is not None:
            self._seen.close()

    def note(self, source: str, encoded: EncodedBlock) -> None:
        """Note the records of a block. Raises DataError where too many cannot be read."""
        self._records += encoded.records
        self._bad += len(encoded.left_out)
        self._list.add(source, encoded.left_out)
        self._scripts.update(scripts_of(encoded.characters))
        self._characters.update({each: count for each, count in encoded.characters.items() if not each.isascii()})
        self._check_share(max(self._records, _FEW_RECORDS))

    def keep(self, split: str, documents: Documents) -> Documents:
        """Count whole documents: those to write."""
        if self._seen is not None:
            first = self._seen.unseen(_apart(split, documents.hashes))
            self._duplicates += int((~first).sum())
            if self._rules.drop_duplicates and not first.all():
                documents = documents.select(first)
        self._unknown += self._unknown_in(documents.tokens)
        return documents

    def add_part(self, documents: Documents) -> None:
        """Count a part of a long document."""
        self._hash = joined(self._hash, self._tokens, int(documents.hashes[0]))
        self._tokens += len(documents.tokens)
        self._open_unknown += self._unknown_in(documents.tokens)

    def keep_long(self, split: str) -> bool:
        """At the end of a long document: whether it is to be written."""
        keep = True
        if self._seen is not None and self._tokens:
            first = bool(self._seen.unseen(_apart(split, np.array([self._hash], dtype="<u8")))[0])
            self._duplicates += not first
            keep = first or not self._rules.drop_duplicates
        self._unknown += self._open_unknown if keep else 0
        self._hash = self._tokens = self._open_unknown = 0
        return keep

    def flush(self) -> Contents:
        """Make the files durable, for a commit."""
        return Contents(
            records=self._records,
            left_out_records=self._bad,
            left_out_bytes=self._list.flush(),
            counted=self._counted,
            unknown_tokens=self._unknown,
            duplicate_documents=self._duplicates,
            seen_documents=self._seen.flush() if self._seen is not None else 0,
            scripts=dict(sorted(self._scripts.items())),
            characters=dict(sorted(self._characters.items())),
            open_hash=self._hash,
            open_tokens=self._tokens,
            open_unknown=self._open_unknown,
        )

    def finish(self) -> None:
        """Raises DataError where too many records cannot be read."""
        self._check_share(self._records)

    def publish(self) -> None:
        """After the last commit."""
        self._list.publish()

    def _check_share(self, records: int) -> None:
        share = self._rules.share
        if self._bad > share * records:
            option = self._rules.names["skip_bad_records"]
            raise DataError(
                f"{self._bad:,} of {self._records:,} records so far cannot be read, more than {option} {share:g} "
                f"allows. The first:\n  " + "\n  ".join(self._list.first()) + f"\nPut them right, or raise {option}"
            )

    def _unknown_in(self, tokens: np.ndarray) -> int:
        return 0 if self._rules.unknown is None else int(np.count_nonzero(tokens == self._rules.unknown))


def _apart(split: str, hashes: np.ndarray) -> np.ndarray:
    return hashes ^ _OF_VALIDATION if split == VALIDATION else hashes
