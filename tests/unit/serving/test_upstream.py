"""The client's bounds and the life of its connections, on real sockets with small limits."""

import asyncio
from collections import Counter

from modelcycle_serving.upstream import Answer, Kind, NoAnswer, Pool, PoolLimits
from unit.serving import peers
from unit.serving.peers import ANSWER, Peer, answer, say

HEAD = b"POST /infer HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n"


ALONE = PoolLimits(spread=0)


def pool(peer: Peer, limits: PoolLimits = ALONE, timeout: float = 20.0) -> Pool:
    return Pool(peer.target, timeout, limits)


async def outcome(each: Pool, head: bytes = HEAD, body: bytes = b"{}") -> Answer | NoAnswer:
    """What became of one request; that it is told once."""
    told: asyncio.Future[Answer | NoAnswer] = asyncio.get_running_loop().create_future()
    each.ask(head, body, told.set_result)
    async with asyncio.timeout(30):
        return await told


async def ask(each: Pool) -> bytes:
    got = await outcome(each)
    assert isinstance(got, Answer), got
    return got.body


async def failure(each: Pool) -> Kind:
    got = await outcome(each)
    assert isinstance(got, NoAnswer), got
    return got.kind


async def until_empty(each: Pool) -> None:
    async with asyncio.timeout(20):
        while len(each):  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)


async def test_connections_are_kept_and_used_in_turn() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer)
        assert await asyncio.gather(*(ask(kept) for _ in range(5))) == [ANSWER] * 5
        assert len(kept) == peer.connections == 5
        for _ in range(10):
            await ask(kept)
        assert Counter(asked.connection for asked in peer.asked[5:]) == dict.fromkeys(range(5), 2)


async def test_pool_in_use_grows_to_its_spread_and_no_further() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer, PoolLimits(spread=5))
        async with asyncio.timeout(20):
            while len(kept) < 5:
                await ask(kept)
        for _ in range(20):
            await ask(kept)
        assert len(kept) == peer.connections == 5
        assert {asked.connection for asked in peer.asked[-5:]} == set(range(5))
        kept.close()
        await until_empty(kept)


async def test_idle_connections_are_closed_while_used_ones_are_kept() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer, PoolLimits(spread=0, idle=0.3))
        await asyncio.gather(*(ask(kept) for _ in range(4)))
        async with asyncio.timeout(20):
            while len(kept) > 1:
                await ask(kept)
                await asyncio.sleep(0.25)
        await until_empty(kept)


async def test_old_connection_is_not_used_again() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer, PoolLimits(spread=0, age=0.0))
        for _ in range(3):
            await ask(kept)
        assert peer.connections == 3
        await until_empty(kept)


async def test_more_connections_than_allowed_are_refused_at_once_and_room_comes_back() -> None:
    with Peer(peers.hang) as peer:
        kept = pool(peer, PoolLimits(connections=2), timeout=1.0)
        waiting = [asyncio.create_task(failure(kept)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await failure(kept) is Kind.CROWDED
        assert await asyncio.gather(*waiting) == [Kind.LATE] * 2
        await until_empty(kept)
        peer.behave = say(answer())
        assert await ask(kept) == ANSWER


async def test_answers_being_received_share_one_bound() -> None:
    half = answer(b"a" * 600)[:-1]
    with Peer(say(half)) as peer:
        kept = pool(peer, PoolLimits(held=len(half)), timeout=5.0)
        first = asyncio.create_task(failure(kept))
        async with asyncio.timeout(20):
            while kept.held < len(half):  # noqa: ASYNC110 - the pool tells nobody
                await asyncio.sleep(0.01)
        assert await failure(kept) is Kind.CROWDED
        assert await first is Kind.LATE
        assert kept.held == 0
        await until_empty(kept)


async def test_closed_pool_ends_idle_connections_now_and_busy_ones_after_their_answer() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer)
        await asyncio.gather(*(ask(kept) for _ in range(3)))
        busy = asyncio.create_task(ask(kept))
        await asyncio.sleep(0)
        kept.close()
        assert await busy == ANSWER
        await until_empty(kept)


async def test_stale_connection_is_retried_once_and_on_a_fresh_one() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer)
        await asyncio.gather(*(ask(kept) for _ in range(3)))
        peer.behave = peers.reset
        assert await outcome(kept) == NoAnswer(Kind.BROKEN, "closed before its answer")
        assert [asked.at for asked in peer.asked[3:]] == [1, 0]


async def test_bytes_nobody_asked_for_end_a_connection() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer, PoolLimits(spread=0, idle=1000))
        await ask(kept)
        peer.blurt(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await until_empty(kept)
        assert await ask(kept) == ANSWER
        assert peer.connections == 2


async def test_connection_that_the_peer_ended_while_idle_is_passed_over() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer, PoolLimits(spread=0, idle=1000))
        await asyncio.gather(*(ask(kept) for _ in range(2)))
        await ask(kept)
        peer.hang_up(peer.asked[-1].connection)
        async with asyncio.timeout(20):
            while len(kept) > 1:  # noqa: ASYNC110 - the pool tells nobody
                await asyncio.sleep(0.01)
        await ask(kept)
        assert peer.connections == 2


async def test_answer_before_the_request_was_sent_whole_leaves_no_rest_for_the_next() -> None:
    with Peer(say(answer())) as peer:
        kept = pool(peer)
        peer.early = answer(b"{}", "413 Content Too Large")
        head = HEAD.replace(b"Length: 2", b"Length: 50000000")
        early = await outcome(kept, head, b"a" * 50_000_000)
        assert isinstance(early, Answer)
        assert early.status == 413
        await until_empty(kept)


async def test_ipv6_target() -> None:
    with Peer(say(answer()), "::1") as peer:
        assert await ask(pool(peer)) == ANSWER
