"""What every store does, whatever is behind it: run over a folder, over the emulators of other clouds, and in part over the component."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelcycle_bundle.store import AlreadyThere, Entry, Store


def contest(store: Store, path: str, *, threads: int, writers: int) -> None:
    """Of many writers of one object exactly one wins, and the object is what it wrote."""

    def attempt(number: int) -> bool:
        try:
            store.put_new(path, str(number).encode())
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        wins = list(pool.map(attempt, range(writers)))
    assert sum(wins) == 1
    assert store.get(path) == str(wins.index(True)).encode()


class StoreBehaviour:
    """Tests of the fixture `store`, an empty one."""

    def test_an_object_is_written_once(self, store: Store) -> None:
        store.put_new("a/b", b"1")
        store.put_new("a/b", b"1")
        with pytest.raises(AlreadyThere, match="a/b exists with other content"):
            store.put_new("a/b", b"2")
        assert store.get("a/b") == b"1"

    def test_of_many_concurrent_writers_one_wins(self, store: Store) -> None:
        contest(store, "contested", threads=8, writers=32)

    def test_a_listing_matches_whole_segments(self, store: Store) -> None:
        for path in ("v1/x", "v1/y/z", "v10/x", "v1.txt"):
            store.put_new(path, b"12")
        assert store.list("v1") == [Entry("v1/x", 2), Entry("v1/y/z", 2)]
        assert [entry.path for entry in store.list()] == ["v1.txt", "v1/x", "v1/y/z", "v10/x"]
        assert store.list("absent") == []

    @pytest.mark.parametrize("name", ["empty", "with space", "ü#%25?.csv"])
    def test_any_name_and_no_bytes_survive(self, store: Store, name: str) -> None:
        store.put_new(name, b"")
        assert (store.get(name), list(store.stream(name)), store.list()) == (b"", [], [Entry(name, 0)])

    def test_a_stream_is_the_object(self, store: Store) -> None:
        data = bytes(range(256)) * 4096
        store.put_new("big", data)
        assert b"".join(store.stream("big")) == data
        assert store.size("big") == len(data)
