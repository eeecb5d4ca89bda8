"""Summaries and tables of a corpus for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.build_bar import speed
from megatinybert.corpus.encode import TRAIN, VALIDATION
from megatinybert.corpus.manifest import LEFT_OUT, Manifest, share_of_unknown
from megatinybert.corpus.other_kinds import left_aside
from megatinybert.corpus.shards import TokenShard
from megatinybert.runtime.counts import counted


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows; the first one is the heading, and all columns but the first are numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def split_table(manifest: Manifest) -> str:
    """Documents, sequences, tokens and shards of each split."""
    names = ("documents", "sequences", "tokens", "shards")
    totals = {split: manifest.totals[split] for split in (TRAIN, VALIDATION)}
    return table(
        [
            ("", *names),
            *([split, *(f"{counts[name]:,}" for name in names)] for split, counts in totals.items()),
        ]
    )


def shard_table(shards: Sequence[TokenShard]) -> str:
    """One line per shard; sizes are of the ids."""
    rows = [
        (
            shard.prefix.name,
            *(f"{count:,}" for count in (shard.documents, shard.sequences, shard.n_tokens)),
            shard.dtype.name,
            f"{shard.n_tokens * shard.dtype.itemsize / 1e6:,.1f} MB",
        )
        for shard in shards
    ]
    return table([("shard", "documents", "sequences", "tokens", "type", "size"), *rows])


def manifest_facts(manifest: Manifest) -> str:
    """Where a corpus comes from."""
    text = sum(source.text_bytes for source in manifest.sources)
    fingerprint = manifest.tokenizer_fingerprint[:12]
    options = ", ".join(f"{name} {value}" for name, value in sorted(manifest.options.items()))
    lines = [
        f"tokenizer  {manifest.tokenizer_name} ({manifest.vocab_size:,} ids, fingerprint {fingerprint})",
        f"sources    {counted(len(manifest.sources), 'file')}, {text / 1e6:,.1f} MB of text, {_encodings(manifest)}",
        f"options    {options}",
        f"made by    {', '.join([manifest.created_by, *manifest.engines])}",
    ]
    return "\n".join([*lines, *_remarks(manifest, OptionNames())])


def build_summary(report: BuildReport, names: OptionNames) -> str:
    """What a build made, how fast, and everything that was replaced or left out."""
    manifest = report.manifest
    lines = [split_table(manifest)]
    if not report.was_whole:
        lines.append(
            f"{report.text_bytes / 1e6:,.1f} MB of text in {report.seconds:,.1f} s with "
            f"{counted(report.workers, 'worker')}: {speed(report.text_bytes, report.tokens, report.seconds)}"
        )
    lines += _remarks(manifest, names)
    if report.left_out:
        lines.append(left_aside(report.left_out))
    return "\n".join(lines)


def _remarks(manifest: Manifest, names: OptionNames) -> list[str]:
    remarks = []
    fraction = manifest.options.get("validation_fraction")
    if fraction and not manifest.totals[VALIDATION]["documents"]:
        documents = manifest.totals[TRAIN]["documents"]
        option = names["validation_fraction"]
        remarks.append(
            f"validation: none of {counted(documents, 'document')} was chosen; raise {option} ({fraction}) for some"
        )
    if manifest.left_out_records:
        share = 100 * manifest.left_out_records / manifest.records
        remarks.append(
            f"records that could not be read, left out: {manifest.left_out_records:,} of {manifest.records:,} "
            f"({share:.3g} %), listed in {LEFT_OUT}"
        )
    if manifest.unknown_tokens is not None:
        remarks.append(
            f"unknown tokens ([UNK]): {manifest.unknown_tokens:,} ({100 * share_of_unknown(manifest):.3g} %)"
        )
    if manifest.duplicate_documents:
        dropped = (
            "dropped" if manifest.options.get("drop_duplicates") else f"kept; {names['drop_duplicates']} drops them"
        )
        remarks.append(f"duplicate documents: {manifest.duplicate_documents:,} ({dropped})")
    remarks += [f"warning: {warning}" for warning in manifest.warnings]
    if manifest.replaced_characters:
        remarks.append(f"invalid bytes: {manifest.replaced_characters:,} characters replaced by U+FFFD")
    if manifest.empty_documents:
        remarks.append(f"empty documents, without a token: {manifest.empty_documents:,}")
    empty = [source.name for source in manifest.sources if not source.text_bytes]
    if empty:
        remarks.append(f"empty files: {len(empty):,} ({_some(empty)})")
    return remarks


def _encodings(manifest: Manifest) -> str:
    """What the files are in, the commonest first; their number where they differ."""
    files = Counter(source.encoding for source in manifest.sources)
    if len(files) == 1:
        return next(iter(files))
    return ", ".join(f"{count:,} in {name}" for name, count in files.most_common())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
