"""Show what token shards hold, and check them.

    python data_prep/inspect_shards.py FOLDER_OR_PREFIX [--verify] [--decode N]

A folder is one that build_shards.py made; a prefix P stands for a Megatron-LM dataset P.bin and P.idx.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.runtime.signals import silent_interrupts

with silent_interrupts():
    import numpy as np

    from megatinybert.corpus.describe import manifest_facts, shard_table, split_table
    from megatinybert.corpus.manifest import Manifest
    from megatinybert.corpus.shards import TokenShard, open_corpus
    from megatinybert.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint
    from megatinybert.corpus.verify import verify
    from megatinybert.runtime.counts import counted


def main() -> int:
    """Exit code 0: all is well, 1: --verify found damage, 2: there is nothing that could be shown, 130: Ctrl-C."""
    parser = argparse.ArgumentParser(description="Show what token shards hold, and check them.")
    parser.add_argument("path", metavar="FOLDER_OR_PREFIX", help="a folder of build_shards.py, or P of P.bin and P.idx")
    parser.add_argument("--verify", action="store_true", help="compute every checksum again and name what is corrupt")
    parser.add_argument("--decode", type=int, metavar="N", default=0, help="print the first N documents as text")
    parser.add_argument(
        "--tokenizer", metavar="NAME_OR_FOLDER", help="decode with it (default: the one in the manifest)"
    )
    options = parser.parse_args()
    try:
        checked = list(verify(options.path)) if options.verify else []
        if not any(problems for _, problems in checked):  # which need not let anything be shown
            show(options.path, options.decode, options.tokenizer)
        if options.verify:
            return tell(checked)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def tell(checked: Sequence[tuple[str, list[str]]]) -> int:
    """Print what `verify` found; 1 where any file is corrupt or missing."""
    problems = [problem for _, of_shard in checked for problem in of_shard]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(
        f"{counted(len(checked), 'shard')} checked, "
        + (f"{counted(len(problems), 'file')} damaged" if problems else "all intact")
    )
    return 1 if problems else 0


def show(path: str, decode: int, tokenizer: str | None) -> None:
    """Print the tables of a corpus, and the text of its first documents."""
    corpora = [open_corpus(path, split) for split in ("train", "validation")]
    shards = [shard for corpus in corpora for shard in corpus.shards]
    manifest = corpora[0].manifest
    if manifest is not None:
        print(manifest_facts(manifest), split_table(manifest), sep="\n\n", end="\n\n")
    print(shard_table(shards))
    if decode:
        print(*texts(shards, decode, manifest, tokenizer), sep="\n")


def texts(shards: list[TokenShard], count: int, manifest: Manifest | None, name: str | None) -> list[str]:
    """The first documents as text, a heading above each. Raises ValueError where the tokenizer is not the
    right one.
    """
    name = name or (manifest.tokenizer_name if manifest else None)
    if name is None:
        raise ValueError("a Megatron dataset does not say which tokenizer made it: name one with --tokenizer")
    tokenizer = load_tokenizer(name)
    if manifest and tokenizer_fingerprint(tokenizer) != manifest.tokenizer_fingerprint:
        raise ValueError(
            f"{name} is not the tokenizer that made these shards ({manifest.tokenizer_name}): use --tokenizer"
        )
    lines: list[str] = []
    for shard in shards:
        for document in range(min(shard.documents, count)):
            lines.append(f"\n{shard.prefix.name}, document {document}")
            for ids in map(np.ndarray.tolist, shard.document_sequences(document)):
                if bad := [token for token in ids if not 0 <= token < 1 << 32]:
                    raise ValueError(f"{shard.prefix}: document {document} has token id {bad[0]}, which no token has")
                lines.append(tokenizer.decode(ids, skip_special_tokens=False))
        count -= min(shard.documents, count)
    return lines


if __name__ == "__main__":
    sys.exit(main())
