"""What labels said of answers: by predicted class, truth and confidence, or by error; and their text on the metrics port.

Owns which label is one of this model, and the numbers behind LABELS, LABEL_CONFIDENCE and LABEL_ERRORS of modelcycle_bundle.metric_names.
Bounded by the profile and by KEPT_COHORTS, whatever arrives. Not thread-safe, like Counters.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.bins import ClassBins, Feature
from modelcycle_bundle.cardinality import answers_and_truths
from modelcycle_bundle.profile import Profile
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.feedback.cohorts import Cohort, Cohorts
from modelcycle_serving.feedback.tokens import PredictedClasses, PredictedValues

_AGE_BOUNDS: Final = tuple(names.AGES.values())[:-1]
_ERROR_BOUNDS: Final = tuple(names.ERROR_BINS.values())[:-1]


class BadLabel(ValueError):
    """A label that is none of this model. `row` is its place; the text says what it has to be, never what it was."""

    def __init__(self, row: int, expected: str) -> None:
        super().__init__(expected)
        self.row: Final = row


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """The labels of one answer: what was answered, by whom, how many seconds ago. `labels` are by row, as JSON had them."""

    answers: PredictedClasses | PredictedValues
    profile: str
    cohort: Cohort
    age: float
    labels: Mapping[int, object]


class Labels(Protocol):
    """Counts labels of one kind of answers."""

    def add(self, given: LabelledAnswer, pinned: str) -> None:
        """Count all labels of an answer, or none. Series of the rollout `pinned` stay. Raises BadLabel."""
        ...

    def exposition(self) -> list[str]:
        """The lines of Prometheus' text format."""
        ...


def of_profile(profile: Profile, home: Cohort) -> "Labels":
    """The counters of labels by a profile; those of `home` exist from now on."""
    if isinstance(profile.output, ClassBins):
        return ClassLabels(profile.output, profile.hash, home)
    return ValueLabels(profile.output, profile.hash, home)


class ClassLabels:
    """Labels of a classifier."""

    def __init__(self, output: ClassBins, profile: str, home: Cohort) -> None:
        self._classes: Final = frozenset(output.classes)
        self._tells_classes: Final = len(output.classes) <= names.ACTUAL_CLASSES
        self._profile: Final = profile
        truths = answers_and_truths(output.classes)
        self._cell: Final = {truth: at * len(names.AGES) for at, truth in enumerate(truths)}
        self._cohorts: Final = Cohorts(
            names.LABELS,
            [
                {"predicted": predicted, "actual": actual, "outcome": outcome, "age": age}
                for predicted, actual, outcome in truths
                for age in names.AGES
            ],
            home,
        )
        self._bins: Final = output.bins[:-1]
        self._confidence: Final = {
            (label, outcome): [0] * len(self._bins) for label in output.classes for outcome in names.LABEL_OUTCOMES
        }

    def add(self, given: LabelledAnswer, pinned: str) -> None:
        """Count all labels of an answer, or none. Raises BadLabel for a class that neither this model nor the answer knows."""
        answers = given.answers
        if not isinstance(answers, PredictedClasses):
            raise BadLabel(min(given.labels), "the answer is a regression's, and this model is a classifier")
        rows = [(row, self._class(row, label, answers)) for row, label in given.labels.items()]
        counts = self._cohorts.of(given.cohort, pinned)
        age = bisect_left(_AGE_BOUNDS, given.age)
        is_of_profile = given.profile == self._profile
        for row, actual in rows:
            predicted = answers.classes[answers.rows[row]]
            outcome = names.LABEL_CORRECT if predicted == actual else names.LABEL_WRONG
            counts[self._cell[self._truth(predicted, actual, outcome)] + age] += 1
            if is_of_profile:
                self._confidence[predicted, outcome][answers.confidence[row]] += 1

    def _class(self, row: int, label: object, answers: PredictedClasses) -> str:
        if isinstance(label, (str, int, float)):
            # 1.0 is what many a data frame makes of the class 1 where labels are missing.
            text = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
            if text in self._classes or text in answers.classes:
                return text
        raise BadLabel(row, f"expected one of the model's {len(self._classes)} classes, or null for not known yet")

    def _truth(self, predicted: str, actual: str, outcome: str) -> tuple[str, str, str]:
        known = self._classes
        is_told = actual in known and (self._tells_classes or outcome == names.LABEL_CORRECT)
        return predicted if predicted in known else names.OTHER, actual if is_told else names.OTHER, outcome

    def exposition(self) -> list[str]:
        """The lines of Prometheus' text format."""
        about = (
            (labelled({"output": label, "confidence": name, "outcome": outcome, "profile": self._profile}), count)
            for (label, outcome), counts in self._confidence.items()
            for name, count in zip(self._bins, counts, strict=True)
        )
        return [
            *described(names.LABELS),
            *self._cohorts.samples(),
            *described(names.LABEL_CONFIDENCE),
            *(f"{names.LABEL_CONFIDENCE}{labels} {count}" for labels, count in about),
        ]


class ValueLabels:
    """Labels of a regression.

    Errors are in standard deviations of the reference's predictions, by this pod's profile: one unit for both revisions of a rollout.
    """

    def __init__(self, output: Feature, profile: str, home: Cohort) -> None:
        self._sd: Final = output.sd or 0.0
        self._cohorts: Final = Cohorts(
            names.LABEL_ERRORS,
            [{"error": error, "age": age, "profile": profile} for error in names.ERROR_BINS for age in names.AGES],
            home,
        )

    def add(self, given: LabelledAnswer, pinned: str) -> None:
        """Count all labels of an answer, or none. Raises BadLabel for what is no finite number."""
        answers = given.answers
        if not isinstance(answers, PredictedValues):
            raise BadLabel(min(given.labels), "the answer is a classifier's, and this model is a regression")
        errors = [abs(_number(row, label) - answers.values[row]) for row, label in given.labels.items()]
        counts = self._cohorts.of(given.cohort, pinned)
        age = bisect_left(_AGE_BOUNDS, given.age)
        for error in errors:
            counts[self._error_bin(error) * len(names.AGES) + age] += 1

    def _error_bin(self, error: float) -> int:
        if not self._sd:
            return len(_ERROR_BOUNDS) if error else 0
        return bisect_left(_ERROR_BOUNDS, error / self._sd)

    def exposition(self) -> list[str]:
        """The lines of Prometheus' text format."""
        return [*described(names.LABEL_ERRORS), *self._cohorts.samples()]


def _number(row: int, label: object) -> float:
    if isinstance(label, bool) or not isinstance(label, (int, float)) or not math.isfinite(label):
        raise BadLabel(row, "expected a finite number, or null for not known yet")
    return float(label)
