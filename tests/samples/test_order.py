import numpy as np
import pytest

from megatinybert.config.removed import REMOVED
from megatinybert.samples.order import GROUP, SampleOrder, Stream, permute, uniform


@pytest.mark.parametrize("samples", [1, 2, 3, 17, 100, 1001])
@pytest.mark.parametrize("block", [1, 2, 7, 64, 5000])
@pytest.mark.parametrize("group", [1, 3, 64])
def test_every_epoch_visits_every_sample_once(samples: int, block: int, group: int) -> None:
    order = SampleOrder(samples, seed=3, block=block, group=group)
    ids, epochs = order(np.arange(3 * samples))
    assert (epochs == np.repeat(np.arange(3), samples)).all()
    for epoch in range(3):
        assert (np.sort(ids[epoch * samples : (epoch + 1) * samples]) == np.arange(samples)).all()


@pytest.mark.parametrize("block", [1, 16])
def test_a_position_depends_on_nothing_but_itself(block: int) -> None:
    order = SampleOrder(1000, seed=5, block=block, group=4)
    positions = np.random.default_rng(0).permutation(2500)
    whole = order(np.arange(2500))[0]
    assert (order(positions)[0] == whole[positions]).all()
    assert [int(order(np.array([p]))[0][0]) for p in (0, 999, 1000, 2499)] == whole[[0, 999, 1000, 2499]].tolist()


def test_order_changes_with_seed_and_epoch_and_looks_shuffled() -> None:
    count = 10_000
    order = SampleOrder(count, seed=1)
    first, second = order(np.arange(count))[0], order(np.arange(count, 2 * count))[0]
    other = SampleOrder(count, seed=2)(np.arange(count))[0]
    for a, b in ((first, second), (first, other), (first, np.arange(count)), (first[:-1], first[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.04  # four standard deviations of a random permutation
    # Each tenth of the order draws from each tenth of the corpus alike: chi-square with 81 degrees of freedom.
    table = np.histogram2d(np.arange(count), first, bins=10)[0]
    assert ((table - 100) ** 2 / 100).sum() < 140


def test_blocks_are_read_together() -> None:
    order = SampleOrder(64 * 1000, seed=1, block=64, group=8)
    ids = order(np.arange(64 * 8))[0]
    assert len(np.unique(ids // 64)) == 8, "the first group of samples comes from 8 blocks"
    assert (np.diff(ids // 64) != 0).mean() > 0.7, "and is mixed among them"


def test_works_on_a_corpus_that_fits_no_memory() -> None:
    order = SampleOrder(10**11, seed=1, block=4096)
    ids, epochs = order(np.array([0, 10**11 - 1, 10**11, 5 * 10**11]))
    assert ((ids >= 0) & (ids < 10**11)).all()
    assert epochs.tolist() == [0, 0, 1, 5]


def test_permute_is_a_bijection_for_every_small_size() -> None:
    for size in range(1, 70):
        image = permute(np.arange(size, dtype=np.uint64), np.uint64(size), np.uint64(9))
        assert (np.sort(image) == np.arange(size)).all()


def test_uniform_is_uniform() -> None:
    draws = uniform(0, np.arange(100_000))
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.004 and abs(draws.var() - 1 / 12) < 0.001


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="samples >= 1, not 0"):
        SampleOrder(0, seed=1)


def test_the_group_is_what_the_removed_option_says() -> None:
    assert REMOVED["data.shuffle_group"].value == GROUP == SampleOrder(1000, seed=1).group


def test_streams_never_change() -> None:
    """Another value, or another meaning of one, would change the order of every run."""
    names = [
        *("BLOCKS", "SHORT_BLOCK", "GROUPS", "PAIRED", "SPLIT", "DROPOUT", "MIXTURE", "CORPUS", "BUCKETS"),
        *("MASKED", "MASKED_AS", "MASKED_TOKEN", "SKIPPED", "CUT_1", "CUT_2", "AHEAD_1", "AHEAD_2"),
        *("SHORT", "PIECES"),
    ]
    assert {stream.name: stream.value for stream in Stream} == {name: number for number, name in enumerate(names, 1)}
