"""Corpora mixed by weight: exact shares at every position, and runs that do not depend on ranks or interruptions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from megatinybert.config.load import load_config
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.samples.mixture import Mixture, exact_shares
from megatinybert.samples.open import HeldOut, Samples, data_identity, open_windows
from megatinybert.samples.windows import Windows
from tests.helpers.processes import GENERAL, exit_codes, start, start_ranks
from tests.helpers.toys import VOCABULARY, metrics, recipe, write_dataset
from tests.helpers.warm_python import warm_python

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))


class FakeWindows:
    """A corpus of which the mixture asks only how large it is."""

    def __init__(self, samples: int) -> None:
        self.samples = samples


def mixture(*weights: float, sizes: int = 1000, seed: int = 0) -> Mixture:
    shares = exact_shares(weights)
    corpora = [FakeWindows(sizes) for _ in weights]
    return Mixture(corpora, shares, [f"corpus-{k}" for k in range(len(weights))], seed)  # type: ignore[arg-type]


def opened(folder: Path, *options: str, seed: int = 0) -> tuple[Samples, HeldOut]:
    """The windows of a run with `options` over two datasets, the second twice as large."""
    for name, tokens in (("a", 3000), ("b", 6000)):
        if not (folder / f"{name}.bin").exists():
            write_dataset(folder / name, tokens, seed=tokens)
    arguments = ["--teacher.model", "t", "--data.shards", str(folder / "a"), str(folder / "b")]
    config = load_config([*arguments, "--data.sequence_length", "16", "--data.held_out_windows", "10", *options])
    return open_windows(config.data, seed, SPECIAL, SPECIAL.vocab_size, "", 0.5)


@pytest.mark.parametrize(
    "weights", [(0.7, 0.3), (1,), (1, 1, 1), (0.5, 1e-4, 1e-4, 0.3), (7, 2, 1, 0.013), (1e-3, 1e-3, 1e-3, 5)]
)
def test_after_every_round_each_corpus_is_within_one_position_of_its_share(weights: tuple[float, ...]) -> None:
    mixed = mixture(*weights)
    shares = [Fraction(str(w)) / sum(Fraction(str(w)) for w in weights) for w in weights]
    for rounds in (0, 1, 2, 3, 10, 999, 10**10 // mixed.round, 10**13 // mixed.round):
        positions = rounds * mixed.round
        counts = mixed.drawn(positions).tolist()
        assert sum(counts) == positions
        assert all(abs(count - share * positions) < 1 for count, share in zip(counts, shares, strict=True))


def test_inside_a_round_shares_stay_near() -> None:
    """A round is a draw without replacement: five of its standard deviations are the bound."""
    mixed = mixture(0.7, 0.3)
    corpora, _ = mixed.place(np.arange(3 * mixed.round))
    counts = np.cumsum(corpora == 1)
    n = np.arange(1, len(counts) + 1)
    inside = n % mixed.round
    deviation = np.sqrt(inside * 0.7 * 0.3 * (mixed.round - inside) / (mixed.round - 1))
    assert (np.abs(counts - 0.3 * n) <= 5 * deviation + 1).all()
    assert all(mixed.drawn(k)[1] == counts[k - 1] for k in n[::997].tolist())


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.5, 1e-4, 1e-4, 0.3)])
def test_positions_and_places_are_one_to_one(weights: tuple[float, ...]) -> None:
    """Every corpus's own positions 0, 1, 2, ... are each taken once, within the round that they belong to."""
    mixed = mixture(*weights)
    corpora, index = mixed.place(np.arange(3 * mixed.round))
    for corpus in range(len(weights)):
        taken = index[corpora == corpus]
        assert (np.sort(taken) == np.arange(len(taken))).all()
        assert len(taken) == mixed.drawn(3 * mixed.round)[corpus]


def test_a_position_depends_on_nothing_but_itself() -> None:
    mixed = mixture(3, 1, 2, seed=4)
    positions = np.random.default_rng(0).permutation(3 * mixed.round)
    whole = mixed.place(np.arange(3 * mixed.round))
    for found, expected in zip(mixed.place(positions), whole, strict=True):
        assert (found == expected[positions]).all()
    far = np.array([10**13, 0, 10**13 + 1])
    alone = [mixed.place(far[k : k + 1]) for k in range(3)]
    assert [(int(c[0]), int(i[0])) for c, i in alone] == list(zip(*(v.tolist() for v in mixed.place(far)), strict=True))
    other = mixture(3, 1, 2, seed=5).place(np.arange(1000))[0]
    assert 0.2 < (whole[0][:1000] == other).mean() < 0.6, "another seed, another order"


def test_weights_of_any_scale_are_the_same_mixture() -> None:
    assert exact_shares([0.7, 0.3]) == exact_shares([7, 3]) == [Fraction(7, 10), Fraction(3, 10)]
    assert sum(exact_shares([1e-3, 123456.789, 1e5])) == 1


def test_batches_are_made_of_the_corpora_own_windows(tmp_path: Path) -> None:
    mixed, _ = opened(tmp_path, "--data.mixture", "3", "1")
    assert isinstance(mixed, Mixture)
    positions = np.arange(100, 140)
    batch = mixed.batch(positions)
    corpora, index = mixed.place(positions)
    assert set(corpora) == {0, 1}
    for row, (corpus, own) in enumerate(zip(corpora, index, strict=True)):
        alone = mixed.corpora[corpus].batch(np.array([own]))
        assert all((batch[name][row] == alone[name][0]).all() for name in ("input_ids", "token_type_ids"))


def test_every_window_of_a_corpus_comes_once_in_each_of_its_epochs(tmp_path: Path) -> None:
    mixed, _ = opened(tmp_path, "--data.mixture", "3", "1")
    assert isinstance(mixed, Mixture)
    corpora, index = mixed.place(np.arange(2 * mixed.round))
    for number, windows in enumerate(mixed.corpora):
        own = index[corpora == number]
        epochs = len(own) // windows.samples
        assert epochs >= 2
        ids, epoch = windows.order(own[own < epochs * windows.samples])
        for e in range(epochs):
            assert (np.sort(ids[epoch == e]) == np.arange(windows.samples)).all()


def test_held_out_windows_are_in_proportion_and_never_trained_on(tmp_path: Path) -> None:
    mixed, held_out = opened(tmp_path, "--data.mixture", "4", "1")
    assert isinstance(mixed, Mixture)
    counts = np.bincount(held_out.corpora).tolist()
    assert counts == [8, 2]
    assert f"8 of {tmp_path / 'a'}" in held_out.origin
    for number, windows in enumerate(mixed.corpora):
        assert (held_out.sample_ids[held_out.corpora == number] >= windows.samples).all()
    batch = held_out.batch(np.array([9, 0]))
    alone = mixed.corpora[1].batch_of(held_out.sample_ids[[9]], np.array([0]))
    assert batch["input_ids"].shape == (2, 16) and (batch["input_ids"][0] == alone["input_ids"][0]).all()
    assert np.bincount(opened(tmp_path, "--data.mixture", "999", "1")[1].corpora).tolist() == [10, 1]


def test_without_a_mixture_all_shards_are_one_stream(tmp_path: Path) -> None:
    windows, held_out = opened(tmp_path)
    assert isinstance(windows, Windows) and len(windows.stream) == 9000
    assert (held_out.batch(np.arange(10))["input_ids"] == windows.batch_of(
        np.arange(windows.samples, windows.windows), np.zeros(10, dtype=np.int64)
    )["input_ids"]).all()  # fmt: skip


def test_identity_tells_mixtures_apart(tmp_path: Path) -> None:
    variants = [(), ("--data.mixture", "1", "1"), ("--data.mixture", "1", "2"), ("--data.mixture", "2", "1")]
    identities = [data_identity(opened(tmp_path, *options)[0]) for options in variants]
    assert len(set(identities)) == 4
    assert data_identity(opened(tmp_path, "--data.mixture", "10", "20")[0]) == identities[2]


def test_what_each_corpus_gives_is_said() -> None:
    mixed = mixture(0.75, 0.25, sizes=2000)
    assert mixed.lines(8192) == [
        "corpus-0: 75 % of the run, 6,144 windows, 3.07 passes over its 2,000",
        "corpus-1: 25 % of the run, 2,048 windows, 1.02 passes over its 2,000",
    ]
    assert mixed.warnings(8192) == []
    (warning,) = mixture(1, 1e-5).warnings(100)
    assert warning.startswith("--data.mixture gives corpus-1 0.001 %, and a run of 100 windows takes none of it: raise")
    with pytest.raises(
        ValueError, match="gives corpus-1 a share of 1.0e-07 of all windows, less than one in a million"
    ):
        mixture(1, 1e-7)


def test_a_corpus_that_is_too_short_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "b", 10)
    with pytest.raises(ValueError, match=rf"{tmp_path / 'b'}: --data.sequence_length 16 needs at least 14 tokens"):
        opened(tmp_path, "--data.mixture", "1", "1")


def options(inputs: Path, run: Path, **overrides: object) -> list[str]:
    """A run over two corpora, without dropout, so that ranks can be compared."""
    extra = inputs / "extra"
    shards = f"[{inputs / 'corpus'}, {extra}]"
    mixed = {"data.shards": shards, "data.mixture": "[0.7, 0.3]", "run.output_dir": run, "run.max_steps": 8}
    return recipe(inputs, **{"student.hidden_dropout": 0, "run.save_interval": 4, **mixed, **overrides})


def losses(run: Path) -> list[float]:
    return [row["loss/total"] for row in metrics(run) if "loss/total" in row]


def test_two_ranks_and_a_resumed_run_see_the_same_mixture(toy_inputs: Path, tmp_path: Path) -> None:
    """One process, two ranks, and one process that stops after 4 of 8 steps and is started again."""
    write_dataset(toy_inputs / "extra", 2500, seed=8)
    one, two, resumed = (tmp_path / name for name in ("one", "two", "resumed"))
    steady: dict[str, object] = {"schedule.type": "constant", "schedule.warmup_steps": 0}
    python = warm_python()
    alone = start([*python, *GENERAL, *options(toy_inputs, one, **steady)], tmp_path / "one.log")
    assert exit_codes([alone]) == [0], (tmp_path / "one.log").read_text()
    ranks = start_ranks(2, GENERAL, options(toy_inputs, two, **steady), tmp_path / "logs", python=python)
    assert exit_codes(ranks) == [0, 0], (tmp_path / "logs" / "rank-0.log").read_text()
    for steps in (4, 8):
        command = [*python, *GENERAL, *options(toy_inputs, resumed, **steady, **{"run.max_steps": steps})]
        assert exit_codes([start(command, tmp_path / f"{steps}.log")]) == [0], (tmp_path / f"{steps}.log").read_text()
    assert len(losses(one)) == 8
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert losses(resumed) == losses(one)
    said = (tmp_path / "one.log").read_text()
    assert f"data: {toy_inputs / 'extra'}: 30 % of the run, " in said
    assert "steps: 4 done of 8" in (tmp_path / "8.log").read_text()
    other = options(toy_inputs, resumed, **{"data.mixture": "[0.6, 0.4]", "run.max_steps": 9})
    assert exit_codes([start([*python, *GENERAL, *other], tmp_path / "other.log")]) == [2]
    assert "written by another kind of run:\n  corpus (by --data.text, " in (
        tmp_path / "other.log"
    ).read_text().replace("\n    ", "\n  ")
