"""Draws: keyed, row-addressable streams, and seeds from what users pass."""

import zlib

import numpy as np
import pytest
import torch

from mixtura.draws import seed_of, stream


@pytest.mark.parametrize("row", [0, 1, 2, 3, 4, 5, 8, 1001, 65536])
def test_a_stream_can_be_entered_at_any_row(row):
    whole = stream(3, "sample").random(row + 50)
    np.testing.assert_array_equal(stream(3, "sample", row=row).random(50), whole[row:])


def test_a_stream_is_philox_by_its_key():
    key = np.array([2**64 - 3, (zlib.crc32(b"kmeans") << 32) | 9], dtype=np.uint64)
    want = np.random.Generator(np.random.Philox(key=key)).random(20)
    np.testing.assert_array_equal(stream(-3, "kmeans", 9).random(20), want)


def test_streams_differ_by_seed_purpose_and_start():
    keys = [(0, "sample", 0), (1, "sample", 0), (0, "kmeans", 0), (0, "sample", 1), (2**63 - 1, "sample", 0)]
    draws = [stream(*key).random(20) for key in keys]
    for i in range(len(keys)):
        for j in range(i):
            assert not np.isin(draws[i], draws[j]).any()
        np.testing.assert_array_equal(stream(*keys[i]).random(20), draws[i])


def test_streams_are_uniform():
    draws = np.concatenate([stream(5, "x", start).random(1000) for start in range(20)])
    # 20,000 uniforms: the mean has sd 0.002, a decile's count 42.
    assert abs(draws.mean() - 0.5) < 0.01
    assert (np.abs(np.histogram(draws, 10, (0, 1))[0] - 2000) < 210).all()


@pytest.mark.parametrize("value", [0, 7, np.int64(7), 2**32, 2**63 - 1])
def test_integers_stand_for_themselves(value):
    assert seed_of(value) == int(value)


@pytest.mark.parametrize(
    "make",
    [np.random.default_rng, np.random.RandomState, lambda s: torch.Generator().manual_seed(s)],
    ids=["Generator", "RandomState", "torch"],
)
def test_generators_give_one_draw_each_time(make):
    generator = make(4)
    first, second = seed_of(generator), seed_of(generator)
    assert first != second
    assert seed_of(make(4)) == first
    assert 0 <= first < 2**63


def test_none_is_fresh_entropy():
    assert len({seed_of(None) for _ in range(10)}) == 10
    assert all(0 <= seed_of(None) < 2**63 for _ in range(10))


@pytest.mark.parametrize("value", [-1, 1.5, "seed", True, [1], np.array([1, 2])])
def test_anything_else_is_an_error_that_names_it(value):
    with pytest.raises(ValueError, match=r"random_state=.*pass a non-negative integer"):
        seed_of(value)


def test_global_generators_are_left_alone():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    stream(0, "x").random(5)
    seed_of(None)
    seed_of(np.random.RandomState(0))
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
