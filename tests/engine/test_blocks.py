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


def test_a_published_block_can_be_found_until_it_is_needed_for_something_else():
    pool = BlockPool(3)
    a, b, c = pool.take(3)
    pool.publish(a, b"a")
    pool.publish(b, b"b")
    pool.publish(c, b"a")  # the first one keeps the name
    pool.give([b, a, c])
    assert (pool.free, pool.find([b"a", b"b", b"c", b"a"])) == (3, [a, b])
    assert pool.take(1) == [c]
    assert pool.take(1) == [b], "the one that was given back first"
    assert pool.find([b"b"]) == []
    assert pool.find([b"a"]) == [a]


def test_a_shared_block_is_free_when_its_last_owner_has_given_it_back():
    pool = BlockPool(2)
    [a] = pool.take(1)
    pool.publish(a, b"a")
    pool.share([a])
    pool.give([a])
    assert pool.used == 1
    pool.give([a])
    assert pool.room_beside([a]) == 1
    pool.share(pool.find([b"a"]))
    assert (pool.used, pool.room_beside([a])) == (1, 1)
    pool.give([a])
    with pytest.raises(ValueError, match="not handed out"):
        pool.give([a])
