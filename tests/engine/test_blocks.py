"""The block pool's books."""

import pytest

from engine.blocks import DUMMY_BLOCK, BlockPool, blocks_for


def test_every_block_is_handed_out_once_and_never_the_dummy():
    pool = BlockPool(5)
    taken = pool.take(5)
    assert sorted(taken) == [1, 2, 3, 4, 5]
    assert DUMMY_BLOCK not in taken
    assert (pool.free, pool.used) == (0, 5)


def test_more_than_is_free_is_an_error_and_takes_nothing():
    pool = BlockPool(2)
    pool.take(1)
    with pytest.raises(ValueError, match="asked for 2 KV blocks, 1 of 2 are free"):
        pool.take(2)
    assert pool.free == 1


@pytest.mark.parametrize("block", [0, 1, 3, -1])
def test_a_block_that_is_not_handed_out_cannot_come_back(block):
    pool = BlockPool(2)
    pool.give(pool.take(1))
    with pytest.raises(ValueError, match="not handed out"):
        pool.give([block])


def test_blocks_for_rounds_up():
    assert [blocks_for(n, 16) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]
