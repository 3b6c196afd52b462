"""Which digest a verb is about, and that a patch keeps everybody's entries."""

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from modelcycle.api.rollout import Verb, parse_requests
from modelcycle.cli import app, requests
from modelcycle.cli.kubectl import ATTEMPTS, Existing, KubectlError, NotAllowed, Outdated, on_latest
from modelcycle.cli.requests import CLIENT_SIDE, MANAGER, Refusal, Wanted
from modelcycle.cli.views import Entry

STATES = Path(__file__).parents[2] / "states" / "modeldeployment"
STABLE, CANARY, OLDER = (
    f"sha256:{start:{fill}<64}" for start, fill in (("9f2c1ab0", 4), ("41d0c2f3", 7), ("77aa01c4", 2))
)
Object = dict[str, Any]


def state(name: str) -> Object:
    loaded: Object = yaml.safe_load((STATES / f"{name}.yaml").read_text())
    return loaded


def about(name: str, verb: Verb, prefix: str = "") -> str:
    return requests.subject(state(name), Wanted(verb, "anna", prefix=prefix))


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL, Verb.ABORT, Verb.APPROVE])
def test_verbs_about_the_canary_name_its_digest(verb: Verb) -> None:
    assert about("canary", verb) == CANARY
    assert about("canary", verb, "41d0c2f3") == CANARY


def test_undo_is_about_what_serves_now() -> None:
    assert about("guard-window", Verb.UNDO) == CANARY


def test_retry_is_about_what_the_spec_asks_for_or_what_is_named() -> None:
    assert about("rejected", Verb.RETRY) == CANARY
    assert about("rejected", Verb.RETRY, "sha256:77aa01c4") == OLDER
    moved_on = state("rejected")
    del moved_on["spec"]["model"]
    assert requests.subject(moved_on, Wanted(Verb.RETRY, "anna")) == CANARY


@pytest.mark.parametrize(
    ("name", "verb", "words"),
    [
        ("serving", Verb.PROMOTE, "there is no canary to promote: scrap is Serving (revision 3"),
        ("serving", Verb.PROMOTE_FULL, "there is no canary to promote"),
        ("new", Verb.ABORT, "there is no canary to abort: scrap is Pending"),
        ("rejected", Verb.APPROVE, "there is no canary to approve: scrap is CanaryFailed"),
        ("serving", Verb.RETRY, "nothing is rejected: scrap is Serving"),
        ("serving", Verb.UNDO, "no revision served before this one"),
    ],
)
def test_a_verb_without_a_subject_says_what_is_the_case(name: str, verb: Verb, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        about(name, verb)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("prefix", "words"), [("41d0", "at least 8 hex digits"), ("deadbeef", "possible for 41d0c2f3 only")]
)
def test_another_digest_than_the_one_reviewed_stops_the_command_delivery_65(prefix: str, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        about("canary", Verb.APPROVE, prefix)
    assert words in str(refused.value)


@pytest.mark.parametrize("verb", [Verb.APPROVE, Verb.PROMOTE_FULL])
def test_a_whole_digest_is_named_before_its_canary_is_there(verb: Verb) -> None:
    assert about("serving", verb, CANARY) == CANARY
    with pytest.raises(Refusal, match="no canary"):
        about("serving", verb, "41d0c2f3")


def test_ids_sort_by_time_and_differ() -> None:
    early, late = (datetime(2026, 11, 25, 14, 23, second, tzinfo=UTC) for second in (1, 2))
    first = requests.new_id(early, b"\xff\xff\xff")
    assert first == "20261125t142301z-ffffff"
    assert first < requests.new_id(late, b"\x00\x00\x00")
    assert first != requests.new_id(early, b"\x00\x00\x00")


def entry(identity: str, verb: Verb = Verb.PROMOTE) -> Entry:
    return Entry(identity, verb, CANARY, "anna", "because")


def with_requests(*applied_by: tuple[str, str], executed: tuple[str, ...] = ()) -> Object:
    """A canary with entries as (id, field manager)."""
    obj = state("canary")
    obj["spec"]["requests"] = [{"id": i, "verb": "Abort", "digest": CANARY, "by": "ben"} for i, _ in applied_by]
    obj["metadata"]["managedFields"] = [
        {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:requests": {f'k:{{"id":"{i}"}}': {}}}}}
        for i, manager in applied_by
    ]
    obj["status"]["requests"] = [{"id": i, "result": "Executed"} for i in executed]
    return obj


def patched(obj: Object, operations: Sequence[Mapping[str, Any]]) -> Object:
    """The object after a JSON patch of the operations that the plugin uses."""
    result: Object = copy.deepcopy(obj)
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        at: Any = result
        for name in way:
            at = at[int(name)] if isinstance(at, list) else at[name]
        match operation["op"], at:
            case "remove", list():
                del at[int(last)]
            case "add", list() if last == "-":
                at.append(operation["value"])
            case "add" | "replace", dict():
                assert operation["op"] == "add" or last in at
                at[last] = operation["value"]
            case _:
                raise AssertionError(operation)
    return result


def written(obj: Object, identity: str = "new") -> list[str]:
    after = patched(obj, requests.patch(obj, entry(identity)))
    assert {**after["spec"], "requests": None} == {**obj["spec"], "requests": None}
    return [e["id"] for e in after["spec"]["requests"]]


def test_our_waiting_entries_are_kept_and_the_executed_ones_go() -> None:
    assert written(with_requests(("a", MANAGER), ("b", MANAGER), ("c", MANAGER), executed=("a", "c"))) == ["b", "new"]


def test_entries_of_others_are_theirs() -> None:
    obj = with_requests(("git", "kustomize-controller"), ("a", MANAGER), executed=("git",))
    assert written(obj) == ["git", "a", "new"]


def test_a_list_that_is_not_there_is_made() -> None:
    obj = state("canary")
    obj["spec"].pop("requests", None)
    assert written(obj) == ["new"]


def test_a_full_list_is_refused_before_the_api_server_does() -> None:
    full = with_requests(*((f"r{n}", MANAGER) for n in range(32)))
    with pytest.raises(Refusal, match="full"):
        requests.patch(full, entry("new"))
    room = with_requests(*((f"r{n}", MANAGER) for n in range(32)), executed=("r0",))
    assert len(written(room)) == 32


def test_what_an_earlier_plugin_took_over_goes_back_to_kubectls_own_apply() -> None:
    obj = with_requests(("a", MANAGER))
    seen: Object = {
        "f:metadata": {"f:annotations": {".": {}}},
        "f:spec": {"f:model": {"f:uri": {}}, "f:requests": {"x": {}}},
    }
    newer: Object = {"f:spec": {"f:model": {"f:digest": {}}}}
    obj["metadata"]["managedFields"] += [
        {"manager": MANAGER, "operation": "Apply", "apiVersion": "v", "time": "t", "fieldsV1": seen},
        {"manager": CLIENT_SIDE, "operation": "Update", "apiVersion": "v", "time": "u", "fieldsV1": newer},
    ]
    after = patched(obj, requests.patch(obj, entry("new")))["metadata"]["managedFields"]
    assert [(m["manager"], m["operation"]) for m in after] == [(MANAGER, "Update"), (CLIENT_SIDE, "Update")]
    assert after[1]["fieldsV1"] == {
        "f:spec": {"f:model": {"f:digest": {}, "f:uri": {}}},
        "f:metadata": {"f:annotations": {".": {}}},
    }


def test_an_apply_of_requests_alone_took_nothing_over() -> None:
    obj = with_requests(("a", MANAGER))
    obj["metadata"]["managedFields"][0]["operation"] = "Apply"
    assert not [o for o in requests.patch(obj, entry("new")) if o["path"] == "/metadata/managedFields"]


def test_what_is_written_is_what_the_operator_reads() -> None:
    obj = state("canary")
    (parsed,) = parse_requests(patched(obj, requests.patch(obj, entry("new")))["spec"]["requests"])
    assert (parsed.id, parsed.verb, parsed.digest, parsed.by, parsed.reason) == (
        "new",
        Verb.PROMOTE,
        CANARY,
        "anna",
        "because",
    )


def test_a_verb_that_every_operator_refuses_is_not_offered() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "abort" in shown
    assert "undo" not in shown


def test_what_others_write_meanwhile_is_read_again_and_not_for_ever() -> None:
    tries: list[int] = []

    def attempt(error: type[KubectlError], until: int) -> Callable[[], int]:
        def run() -> int:
            tries.append(len(tries))
            if len(tries) < until:
                raise error(f"try {len(tries)}")
            return len(tries)

        tries.clear()
        return run

    assert on_latest(attempt(Outdated, ATTEMPTS)) == ATTEMPTS
    assert on_latest(attempt(Existing, 2)) == 2
    with pytest.raises(Outdated, match=f"try {ATTEMPTS}"):
        on_latest(attempt(Outdated, ATTEMPTS + 1))
    with pytest.raises(NotAllowed, match="try 1"):
        on_latest(attempt(NotAllowed, 2))
