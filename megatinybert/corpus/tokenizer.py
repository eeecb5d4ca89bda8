"""The tokenizer of a model folder or hub name.

For encoding text into shards, and for recognising the tokenizer that shards were made with. Importing this module
loads neither torch nor Transformers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from megatinybert.config.hub import advice, reason_of
from megatinybert.config.missing import missing_tokenizer

# The names of [CLS], [SEP], [PAD] and [MASK] in the families of encoders: BERT and RoBERTa.
_SPECIAL_NAMES = (("[CLS]", "[SEP]", "[PAD]", "[MASK]"), ("<s>", "</s>", "<pad>", "<mask>"))


class SpecialIds(NamedTuple):
    """Ids of the special tokens, and the number of ids there are (added tokens included)."""

    cls: int
    sep: int
    pad: int
    mask: int
    vocab_size: int


def load_tokenizer(name_or_folder: str | Path) -> Tokenizer:
    """Load the fast tokenizer of a model folder or a hub name, ready to encode corpus text.

    Of a folder, tokenizer.json is taken, else the vocab.txt of a BERT (published TinyBERT folders hold
    nothing more); whatever else, and hub names, go through Transformers' AutoTokenizer, without running code
    of theirs. Truncation and padding are switched off (some tokenizer.json files carry both), and text that
    spells a special token, such as "[SEP]", is encoded as the ordinary text it is.

    Raises ValueError where nothing can be loaded, or only a slow tokenizer.
    """
    tokenizer = _read_tokenizer(str(name_or_folder))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_from_json(text: str) -> Tokenizer:
    """Rebuild a tokenizer of `load_tokenizer` from its `to_str()`, which leaves out how special tokens are
    encoded.
    """
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Hash (sha256, hex) everything that decides which ids a text becomes, and nothing else.

    That is the canonical JSON of the normaliser, pre-tokeniser, model and added tokens. Truncation, padding,
    decoding and the template that adds special tokens are left out, so the same vocabulary read from
    tokenizer.json or from vocab.txt has the same fingerprint.
    """
    parts = json.loads(tokenizer.to_str())
    shaping = {name: parts[name] for name in ("added_tokens", "model", "normalizer", "pre_tokenizer")}
    canonical = json.dumps(shaping, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """Look up the special tokens by the names that BERT or RoBERTa give them. Raises ValueError where one is
    missing.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    missing: list[list[str]] = []
    for names in _SPECIAL_NAMES:
        missing.append([name for name in names if name not in vocabulary])
        if not missing[-1]:
            cls, sep, pad, mask = (vocabulary[name] for name in names)
            # Ids may have holes: the largest one counts, not how many there are.
            return SpecialIds(cls, sep, pad, mask, max(vocabulary.values()) + 1)
    fewest = min(missing, key=lambda names: len(names))
    raise ValueError(
        f"the tokenizer has no {', '.join(fewest)}: an encoder needs tokens named as BERT "
        f"({' '.join(_SPECIAL_NAMES[0])}) or RoBERTa ({' '.join(_SPECIAL_NAMES[1])}) name them"
    )


def read_files(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder as its files are; None where only Transformers can make it of them, which is slow to
    load. Raises ValueError where a file cannot be read.
    """
    if (folder / "tokenizer.json").is_file():
        try:
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"cannot read {folder / 'tokenizer.json'}: {error}") from error
    return _bert_of_vocabulary(folder)


def _read_tokenizer(name: str) -> Tokenizer:
    if (tokenizer := read_files(Path(name))) is not None:
        return tokenizer
    if problem := missing_tokenizer(name):
        raise ValueError(problem)
    return _auto_tokenizer(name)


def _bert_of_vocabulary(folder: Path) -> Tokenizer | None:
    """The WordPiece tokenizer of a folder with a BERT's vocab.txt; None where there is no such file."""
    vocabulary = folder / "vocab.txt"
    if not vocabulary.is_file():
        return None
    with vocabulary.open(encoding="utf-8") as lines:
        known = {line.rstrip("\r\n") for line in lines}
    if not {"[UNK]", *_SPECIAL_NAMES[0]} <= known:
        return None
    settings: dict[str, Any] = {}
    if (folder / "tokenizer_config.json").is_file():
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    wordpiece = BertWordPieceTokenizer(
        str(vocabulary),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    return Tokenizer.from_str(wordpiece.to_str())


def _auto_tokenizer(name: str) -> Tokenizer:
    from transformers import AutoTokenizer  # takes seconds and loads torch: only where it is needed

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # a folder's defects surface as many types here
        where = "that folder" if Path(name).is_dir() else "no such folder here, and the hub or its cache"
        raise ValueError(f"cannot load the tokenizer {name} ({where}: {reason_of(error)}){advice(name)}") from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"{name} has only a slow tokenizer ({type(tokenizer).__name__}): shards need a fast one. "
            "Convert it to a tokenizer.json with Transformers, save it beside the model, name the folder"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # made up by the library where there is none
        raise ValueError(
            f"{name} holds no vocabulary (a tokenizer.json or vocab.txt): put the model's there, or name a folder that "
            "has it"
        )
    return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
