"""Pods that count real rows by a real profile, in memory: the bins are those of the server. No sockets, no clocks, seeded rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fakes.counting_pods import OK, ROWS, CountingPod
from modelcycle.metrics.port import Series
from modelcycle_bundle import metric_names
from modelcycle_bundle.bins import Feature
from modelcycle_bundle.outputs import ClassOutputs, Outputs, ValueOutputs
from modelcycle_bundle.profile import BinCounter, Profile, build

Table = NDArray[np.float32]


def blind_profile() -> Profile:
    """A profile that has no bins to compare: what is counted by it is never drift."""
    feature = Feature("t", None, None, (), (0, 0, 0, 1), None, None)
    return Profile(1, (feature,), 1, Feature("prediction", None, None, (), (0, 0, 0, 1), None, None))


def classified(score: NDArray[Any]) -> ClassOutputs:
    """Answers of a classifier whose probability of class `bad` is `score`."""
    bad = np.asarray(score, dtype=np.float32)
    probabilities = np.stack([1 - bad, bad], axis=1)
    return ClassOutputs(np.where(bad > 0.5, "bad", "good"), probabilities)


@dataclass
class Factory:
    """A stream of rows: `names` standard normal columns, and a model that scores the first of them."""

    seed: int = 0
    names: tuple[str, ...] = ("temperature", "pressure", "speed")
    regression: bool = False
    rng: np.random.Generator = field(init=False)
    profile: Profile = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.profile = build(self.names, self.rows(20_000), self.answers(self.rows(8_000)))

    def rows(self, n: int) -> Table:
        """n rows as in training."""
        return self.rng.standard_normal((n, len(self.names))).astype(np.float32)

    def answers(self, table: Table) -> Outputs:
        """What the model says of them."""
        if self.regression:
            return ValueOutputs(table[:, 0] * np.float32(2))
        return classified(1 / (1 + np.exp(-3 * table[:, 0])))

    def pod(self, uid: str, epoch: float) -> "JudgedPod":
        """A pod of the model, before its first row."""
        return JudgedPod(uid, epoch, profile=self.profile)


@dataclass
class JudgedPod(CountingPod):
    """A pod with the counters of `profile`."""

    profile: Profile = field(default_factory=blind_profile)

    def __post_init__(self) -> None:
        self._counter = BinCounter(self.profile)
        self._name = self.profile.hash
        self.counts = {ROWS: 0, OK: 0}
        self._copy()

    def predict(self, table: Table, answers: Outputs) -> None:
        """Answer one request a row."""
        self._counter.add_inputs(table)
        self._counter.add_outputs(answers)
        self.counts[ROWS] += len(table)
        self.counts[OK] += len(table)
        self._copy()

    def _copy(self) -> None:
        counter, name = self._counter, self._name
        for (feature, bin_name), value in zip(counter.input_series, counter.input_counts, strict=True):
            self.counts[Series(metric_names.FEATURE, (name, feature, bin_name))] = int(value)
        for (output, confidence), value in zip(counter.output_series, counter.output_counts, strict=True):
            self.counts[Series(metric_names.PREDICTION, (name, output, confidence))] = int(value)
