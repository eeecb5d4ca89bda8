"""Candidates of the masked-LM: in batches the same as one by one, and the same as the library's own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.tasks.augment.candidates import CandidateFinder
from megatinybert.tasks.augment.masked_lm import Filler, Query, load_masked_lm, top_ids
from megatinybert.tasks.augment.words import Splitter
from tests.helpers.augment_toys import CHINESE, VOCABULARY, WORDS, ids_of, sentence, write_masked_lm
from tests.helpers.toys import bert_config

CPU = torch.device("cpu")
TEXTS = [(sentence(number, 2 + number % 7),) for number in range(12)] + [(sentence(20), sentence(30, 3))]


def finder(folder: Path, candidates: int = 5, batch_tokens: int = 64, **more: object) -> CandidateFinder:
    tokenizer = load_tokenizer(folder)
    filler = Filler(load_masked_lm(str(folder), "--model", torch.float32, CPU), 0, candidates, batch_tokens)
    settings = {"positions": 64, "nearest": None} | more
    return CandidateFinder(tokenizer, Splitter(tokenizer, "none", "--segmenter"), filler, **settings)  # type: ignore[arg-type]


@torch.no_grad()
def literal(folder: Path, text: tuple[str, ...], side: int, place: int, candidates: int) -> list[str]:
    """The candidates of a one-piece word by the definition: the whole model, one sequence, plain Python."""
    model = BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer, special = load_tokenizer(folder), ids_of(folder)
    sides = [tokenizer.encode(part, add_special_tokens=False).ids for part in text]
    original = sides[side][place]
    sides[side][place] = special.mask
    ids = [special.cls, *sides[0], special.sep]
    types = [0] * len(ids)
    if len(sides) == 2:
        ids += [*sides[1], special.sep]
        types += [1] * (len(sides[1]) + 1)
    mask = ids.index(special.mask)
    scores = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, mask].tolist()
    ranked = sorted((number for number in range(len(scores)) if number != original), key=lambda n: (-scores[n], n))
    tokens = [VOCABULARY[number] for number in sorted(ranked[:candidates])]
    return [token for token in tokens if not token.startswith("##") and token not in VOCABULARY[:5]]


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_candidates_are_those_of_one_whole_forward_pass_a_word(model: Path, batch_tokens: int) -> None:
    found = finder(model, batch_tokens=batch_tokens).find(TEXTS)
    compared = 0
    for text, choices in zip(TEXTS, found, strict=True):
        by_word = {(choice.side, choice.word.first): choice.candidates for choice in choices}
        for side, part in enumerate(text):
            for place in range(len(part.split())):
                expected = literal(model, text, side, place, 5)
                assert by_word.get((side, place), []) == expected, (text, side, place)
                compared += len(expected)
    assert compared > 100


def test_a_word_is_not_its_own_candidate(model: Path) -> None:
    found = finder(model, candidates=len(VOCABULARY) - 1).find([(f"{word.upper()} {word}",) for word in WORDS])
    for word, choices in zip(WORDS, found, strict=True):
        assert len(choices) == 2
        for choice in choices:
            assert word not in choice.candidates
            assert len(choice.candidates) == len(VOCABULARY) - 1 - 5 - 26, "all but itself, special ones and pieces"


def test_a_word_of_several_pieces_is_one_mask(model: Path) -> None:
    special = ids_of(model)
    asked: list[Query] = []

    class Spy(Filler):
        def fill(self, queries):  # type: ignore[no-untyped-def]
            asked.extend(queries)
            return super().fill(queries)

    tokenizer = load_tokenizer(model)
    spy = Spy(load_masked_lm(str(model), "--model", torch.float32, CPU), 0, 3, 64)
    splitter = Splitter(tokenizer, "none", "--segmenter")
    CandidateFinder(tokenizer, splitter, spy, 64, None).find([("bbird unseen bring",)])
    bird, ring = (VOCABULARY.index(word) for word in ("bbird", "bring"))
    assert asked[1].ids.tolist() == [special.cls, bird, special.mask, ring, special.sep]
    assert (asked[1].mask, asked[1].masks, asked[1].original) == (2, 1, -1)


def test_words_beyond_the_positions_stay(model: Path) -> None:
    long, short = sentence(1, 40), sentence(2, 4)
    (choices,) = finder(model, positions=20).find([(long, short)])
    assert {choice.side for choice in choices} == {0, 1}
    assert max(choice.word.last for choice in choices if choice.side == 0) == 20 - 3 - 4
    (choices,) = finder(model, positions=20).find([(long,)])
    assert max(choice.word.last for choice in choices) == 18


def test_several_masks_are_filled_greedily(model: Path) -> None:
    filler = Filler(load_masked_lm(str(model), "--model", torch.float32, CPU), 0, 4, 64)
    special = ids_of(model)
    ids = np.array([special.cls, 7, special.mask, special.mask, special.mask, 9, special.sep])
    fillings = filler.fill([Query(ids, first_segment=len(ids), mask=2, masks=3)])[0]
    assert len(fillings) == 4 and all(len(filling) == 3 for filling in fillings)
    for filling in fillings:
        for known in (1, 2):
            rest = ids.copy()
            rest[2 : 2 + known] = filling[:known]
            one = Filler(filler._model, 0, 1, 64).fill([Query(rest, first_segment=len(ids), mask=2 + known)])
            assert one == [[(filling[known],)]]


def test_chinese_characters_have_candidates(model: Path) -> None:
    (choices,) = finder(model, candidates=40).find([("电影很好看",)])
    assert [choice.word.start for choice in choices] == [0, 1, 3, 4]
    assert all(set(choice.candidates) & set(CHINESE) for choice in choices)


def test_of_equal_scores_the_lower_ids_are_taken() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
    assert top_ids(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    with pytest.raises(ValueError, match="not finite"):
        top_ids(torch.full((1, 6), torch.nan), 3)


def test_a_model_without_head_is_refused(tmp_path: Path) -> None:
    BertModel(bert_config(2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no masked-LM head.*--objective.name mlm"):
        load_masked_lm(str(tmp_path), "--model", torch.float32, CPU)


def test_a_half_precision_model_works(tmp_path: Path) -> None:
    write_masked_lm(tmp_path)
    model = load_masked_lm(str(tmp_path), "--model", torch.bfloat16, CPU)
    fillings = Filler(model, 0, 3, 64).fill([Query(np.array([2, 6, 4, 3]), first_segment=4, mask=2)])
    assert len(fillings[0]) == 3
