"""Compare a partitioned teacher with a plain one on the same batches, on every rank.

    RANK=... WORLD_SIZE=... python tests/scripts/partitioned.py FOLDER

FOLDER: a BERT. Each rank prints one line of JSON for each precision: whether features, fingerprints and checksums are
equal, and what share of the weights it holds.
"""

from __future__ import annotations

import json
import sys

import torch

from megatinybert.config.teacher_engine import load_teacher_ds_config
from megatinybert.models.capture import Wanted
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_teachers
from megatinybert.runtime import dist

WORLD = dist.start()

from megatinybert.training import partitioned_teacher

DEPTHS = (2, 3)
SOME = Wanted(states=frozenset([2]), layers=frozenset([1]))
KEPT = {"hidden_states": 2, "queries": 1, "keys": 1}  # the last states always
partitioned_teacher._ROWS = 40  # so that the toy's token embeddings are not read at once
LINEAR = torch.nn.functional.linear


def batch(rows: int, padded: bool) -> dict[str, torch.Tensor]:
    """Other ones on each rank, as in training."""
    generator = torch.Generator().manual_seed(WORLD.rank)
    ids = torch.randint(5, 100, (rows, 16), generator=generator)
    found = {"input_ids": ids, "token_type_ids": (torch.arange(16) > 8).long().expand(rows, -1)}
    if padded:
        found["attention_mask"] = (torch.arange(16) < torch.randint(8, 16, (rows, 1), generator=generator)).long()
    return found


def main(folder: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        plain = load_teachers(folder, DEPTHS, dtype, WORLD.device)
        raw = load_teacher_ds_config("teacher-zero3", str(dtype).removeprefix("torch."))
        raw["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        config = read_bert_config(folder, "--teacher.model")
        parts = partitioned_teacher.load_partitioned(folder, config, DEPTHS, dtype, raw, WORLD)
        equal = True
        for rows, padded in ((4, False), (3, True), (2, False)):
            theirs = plain[3].features(batch(rows, padded))
            for wanted in (None, SOME):
                ours = parts[3].features(batch(rows, padded), wanted)
                for kind in ("hidden_states", "queries", "keys"):
                    pairs = list(zip(getattr(ours, kind), getattr(theirs, kind), strict=True))
                    kept = [(one, other) for one, other in pairs if one is not None]
                    equal = equal and len(kept) == (len(pairs) if wanted is None else KEPT[kind])
                    equal = equal and all(torch.equal(one, other) for one, other in kept)
        known = [{d: (each[d].fingerprint, each[d].checksum) for d in DEPTHS} for each in (parts, plain)]
        held = sum(weight.ds_tensor.numel() for weight in parts[3].model.parameters())
        held += parts[3].model.embeddings.word_embeddings.rows.numel()
        whole = sum(weight.numel() for weight in plain[3].model.parameters())
        gathered = sum(weight.numel() for weight in parts[3].model.parameters())
        said = {"dtype": str(parts[3].model.dtype), "equal": equal, "known": known[0] == known[1]}
        print(json.dumps({**said, "held": held / whole, "gathered": gathered}), flush=True)
    assert torch.nn.functional.linear is LINEAR  # or the student's products would round in another way
    dist.stop()


if __name__ == "__main__":
    main(sys.argv[1])
