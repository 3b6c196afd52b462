"""The key file: read again when it changes, rotated without losing a label, never logged."""

import logging
from pathlib import Path

import pytest

from modelcycle_serving.feedback.keys import KeyFile
from modelcycle_serving.feedback.tokens import Forged, opened
from unit.serving.feedback import desk
from unit.serving.feedback.desk import KEY, OTHER_KEY, Desk


def test_the_key_before_a_change_is_still_accepted(at: Desk, key_file: Path) -> None:
    token = at.token("no")
    key_file.write_text(OTHER_KEY)
    at.keys.look()
    assert at.keys.signing is not None
    assert at.keys.signing.secret == OTHER_KEY.encode()
    assert at.post((token, ["no"]), (at.token("yes"), ["yes"]))[0] == 200


def test_only_the_last_one_before_is_accepted_unless_the_file_has_it(at: Desk, key_file: Path) -> None:
    first = at.token("no")
    for text in (OTHER_KEY, "a third key of thirty-two bytes or more"):
        key_file.write_text(text)
        at.keys.look()
    assert at.post((first, ["no"]))[0] == 401
    key_file.write_text(f"a third key of thirty-two bytes or more\n\n  {KEY}  \r\n")
    at.keys.look()
    assert at.post((first, ["no"]))[0] == 200


def test_a_key_accepted_early_lets_pods_change_at_different_times(tmp_path: Path) -> None:
    """Rotation in two steps: accepted everywhere, then signing. In between no pod refuses what another signed."""
    desks = [Desk(desk.classes("no", "yes"), tmp_path / name, revision=name) for name in ("one", "two")]
    steps = [(KEY, KEY), (f"{KEY}\n{OTHER_KEY}",) * 2, (f"{OTHER_KEY}\n{KEY}", f"{KEY}\n{OTHER_KEY}")]
    for texts in steps:
        for each, text in zip(desks, texts, strict=True):
            (tmp_path / ("one" if each is desks[0] else "two")).write_text(text)
            each.keys.look()
        assert desks[0].post((desks[1].token("no"), ["no"]))[0] == 200
        assert desks[1].post((desks[0].token("no"), ["no"]))[0] == 200


@pytest.mark.parametrize("text", ["", "\n\n", "short", f"{KEY}\nshort", "\n".join([KEY] * 5), "k" * 5000])
def test_what_is_no_key_file_changes_nothing_and_is_not_logged(
    at: Desk, key_file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    key_file.write_text(text)
    with caplog.at_level(logging.DEBUG):
        at.keys.look()
        at.keys.look()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert KEY not in str(caplog.records[0].__dict__)
    assert at.post((at.token("no"), ["no"]))[0] == 200


def test_an_unreadable_file_changes_nothing(at: Desk, key_file: Path) -> None:
    key_file.unlink()
    key_file.mkdir()
    at.keys.look()
    assert at.post((at.token("no"), ["no"]))[0] == 200


def test_no_key_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key"
    with caplog.at_level(logging.DEBUG):
        keys = KeyFile(path)
        keys.look()
        for text in (KEY, OTHER_KEY):
            path.write_text(text)
            keys.look()
    assert len(caplog.records) == 3
    assert not [record for record in caplog.records if KEY in str(record.__dict__) or OTHER_KEY in str(record.__dict__)]


def test_another_key_is_another_signature(at: Desk, key_file: Path) -> None:
    token = at.token("no")
    key_file.write_text(OTHER_KEY)
    stranger = KeyFile(key_file)
    stranger.look()
    with pytest.raises(Forged):
        opened(token, stranger.accepted)
