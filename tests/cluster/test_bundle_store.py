"""The store component as the bundle package sees it: create-only for real, and listed as written."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelcycle_bundle import keys
from modelcycle_bundle.contract import FailureReason
from modelcycle_bundle.store import NotThere, Store
from unit.bundle.bundles import write_bundle
from unit.bundle.store_behaviour import contest


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def test_of_64_concurrent_create_only_puts_one_wins(buckets: tuple[Store, Store], prefix: str) -> None:
    contest(buckets[1], f"{prefix}/contested", threads=16, writers=64)


def test_a_bundle_is_listed_and_streamed_as_written(buckets: tuple[Store, Store], prefix: str, tmp_path: Path) -> None:
    models = buckets[1]
    write_bundle(tmp_path, keys.generate())
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for _ in range(2):
        for name, data in files.items():
            models.put_new(f"{prefix}/{name}", data)
    assert [entry.path for entry in models.list(prefix)] == sorted(f"{prefix}/{name}" for name in files)
    assert {name: b"".join(models.stream(f"{prefix}/{name}")) for name in files} == files


def test_an_absent_object_is_not_found(buckets: tuple[Store, Store], prefix: str) -> None:
    with pytest.raises(NotThere) as caught:
        buckets[0].get(f"{prefix}/absent")
    assert caught.value.failure.reason is FailureReason.DATA_NOT_FOUND


def test_candidates_that_lost_are_removed_and_what_lies_beside_them_stays(
    buckets: tuple[Store, Store], prefix: str
) -> None:
    """Many in one request, one of them gone already."""
    models = buckets[1]
    lost = [f"candidates/{prefix}/{index}/result.json" for index in range(60)]
    stays = [f"candidates/{prefix}0/1/result.json", f"{prefix}/sha256-a/model/model.onnx"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: models.put_new(path, b"x"), [*lost, *stays]))
    models.remove_candidates([*lost, f"candidates/{prefix}/gone"])
    assert models.list(f"candidates/{prefix}") == []
    assert [models.get(path) for path in stays] == [b"x", b"x"]
    models.remove_candidates([stays[0]])
