"""A canary that needs fewer inputs, in another order: promoted while clients send tensors and columns, and each answer is the right one."""

import csv
import io
import itertools
import json
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest

from canary_ground import ROWS, Ground, Line
from demo import records
from demo.kubectl import condition, describe, is_current
from sealed_models import published

pytestmark = pytest.mark.timeout(900)
Rows = Sequence[Sequence[float]]
TABLE: Final[Rows] = json.loads(records.rows(ROWS))


def tensor(rows: Rows) -> dict[str, Any]:
    """All columns in one tensor, in the order that clients know."""
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "input", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}]}


def by_name(rows: Rows) -> dict[str, Any]:
    """One tensor a column, last one first."""
    named = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": [row[at] for row in rows]}
        for at, name in enumerate(records.columns())
    ]
    return {"inputs": named[::-1]}


def asked(address: str, body: dict[str, Any]) -> tuple[str, list[float]]:
    """Version that answered, and its probabilities; whatever is no 200 raises."""
    request = urllib.request.Request(f"http://{address}/v2/models/model/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    return found["model_version"], next(o["data"] for o in found["outputs"] if o["name"] == "probabilities")


class Asking:
    """Clients who ask row by row, in both forms, and keep every answer."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[str, int, str, list[float]]] = []
        """Version, row, form, probabilities."""
        self.failures: list[str] = []
        self._address = address
        self._ended = threading.Event()

    def run(self, form: str) -> None:
        make = {"tensor": tensor, "by name": by_name}[form]
        for row in itertools.cycle(range(ROWS)):
            if self._ended.wait(0.05):
                return
            try:
                version, found = asked(self._address, make([TABLE[row]]))
                self.answers.append((version, row, form, found))
            except (OSError, ValueError, KeyError, StopIteration) as error:
                self.failures.append(f"{form}: {error!r}")

    @contextmanager
    def under_way(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.run, args=(form,)) for form in ("tensor", "by name")]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()


def reversed_table() -> bytes:
    """The records without their last measurement, the others in reverse order."""
    whole = csv.reader(io.StringIO(records.as_csv().decode()))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([*row[-3::-1], row[-1]] for row in whole)
    return out.getvalue().encode()


def address_of(line: Line) -> str:
    service = line.kubectl.get("service", line.name) or {}
    return str(service["spec"]["clusterIP"])


def test_canary_with_fewer_inputs_in_another_order_is_promoted_and_no_client_gets_a_wrong_answer(
    ground: Ground,
) -> None:
    data = {"uri": ground.plant.put("reversed.csv", reversed_table())}
    ground.kubectl.apply(ground.plant.experiment("reversed", data=data))
    line = ground.serving("subset")
    line.load()
    other = published(ground.kubectl, "reversed")
    address = address_of(line)
    expected = dict([asked(address, by_name(TABLE))])
    asking = Asking(address)
    messages = set()
    with asking.under_way():
        line.ask(other)
        done = line.ended(each=lambda o: messages.add(condition(o, "Ready").get("message", "")))
        assert is_current(done), describe(done)
        assert done["status"]["stable"]["digest"] == other.digest
        line.turn("after")
        before = len(asking.answers)
        line.wait(lambda _: len(asking.answers) > before + 2 * ROWS)
    new, right = asked(address, by_name(TABLE))
    expected[new] = right
    again, by_place = asked(address, tensor(TABLE))
    assert (again, by_place == pytest.approx(right, abs=1e-6)) == (new, True)
    misread = [[*row[:-1][::-1], row[-1]] for row in TABLE]
    assert asked(address, tensor(misread))[1] != pytest.approx(right, abs=1e-3), "a wrong order would show"
    assert any("told in which order clients send them" in message for message in messages), messages
    assert len(expected) == 2
    wrong = [
        (version, row, form)
        for version, row, form, found in asking.answers
        if found != pytest.approx(expected[version][2 * row : 2 * row + 2], abs=1e-6)
    ]
    assert (wrong, asking.failures) == ([], [])
    ways = {(version == new, form) for version, _, form, _ in asking.answers}
    assert ways == set(itertools.product((False, True), ("tensor", "by name")))
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
