"""Reading the traffic annotation from its file: swaps are seen, what cannot be read or parsed changes nothing and is said once."""

import logging
from pathlib import Path

import pytest

from modelcycle_bundle.traffic import Traffic, to_text
from modelcycle_serving.traffic_file import MAX_BYTES, TrafficFile

ONE = Traffic("aabbcc-00000001", 1, 500, "10.0.0.1:80")
TWO = Traffic("aabbcc-00000001", 2, 0, "10.0.0.1:80", close=True)


class Rig:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[Traffic] = []
        self.file = TrafficFile(path, self.applied.append)

    def show(self, text: str | bytes) -> list[Traffic]:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        self.file.look()
        return self.applied


@pytest.fixture
def shown(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "traffic.json")


def test_absent_file_applies_nothing_and_a_vanished_one_keeps_the_last(shown: Rig) -> None:
    shown.file.look()
    assert shown.applied == []
    assert shown.show(to_text(ONE)) == [ONE]
    shown.path.unlink()
    shown.file.look()
    assert shown.applied == [ONE]


def test_value_is_applied_once_until_its_text_changes(shown: Rig) -> None:
    shown.show(to_text(ONE))
    shown.file.look()
    assert shown.show(to_text(TWO)) == [ONE, TWO]
    assert shown.show("") == [ONE, TWO, Traffic()]


def test_folder_swapped_by_a_link_is_seen(tmp_path: Path) -> None:
    """As the kubelet does it: traffic.json -> ..data/traffic.json, ..data -> a new folder."""
    for name, traffic in (("one", ONE), ("two", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "traffic.json").write_text(to_text(traffic))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "traffic.json").symlink_to("..data/traffic.json")
    shown = Rig(tmp_path / "traffic.json")
    shown.file.look()
    (tmp_path / "..tmp").symlink_to("two")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    shown.file.look()
    assert shown.applied == [ONE, TWO]


@pytest.mark.parametrize(
    "text", ["{", '{"share":"secret-7311"}', b"\xff\xfe secret-7311", "[" * 50_000, to_text(ONE) + " " * MAX_BYTES]
)
def test_bad_annotation_keeps_the_last_and_is_logged_once_without_its_text(
    shown: Rig, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    shown.show(to_text(ONE))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            shown.show(text)
    assert shown.applied == [ONE]
    assert len(caplog.records) == 1
    assert "7311" not in str(vars(caplog.records[0]))
    assert shown.show(to_text(TWO)) == [ONE, TWO]


def test_file_that_may_not_be_read_changes_nothing(shown: Rig) -> None:
    shown.show(to_text(ONE))
    shown.path.unlink()
    shown.path.mkdir()
    shown.file.look()
    assert shown.applied == [ONE]
