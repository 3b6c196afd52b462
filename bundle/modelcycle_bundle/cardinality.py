"""How many series a serving pod exports: what a profile costs a Prometheus, known before the model is served.

Owns the sums; tests compare them with real pages. Counts samples: a histogram of n bounds has n + 3.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from modelcycle_bundle import client_inputs
from modelcycle_bundle import metric_names as names
from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.profile import BinCounter, Profile

ARMS: Final = len(names.ARM_OUTCOMES)


def served(profile: Profile, bounds: Sequence[float] = names.LATENCY_BOUNDS) -> dict[str, int]:
    """Series by metric, from readiness to the end of the process: all of what is served, none of a rollout or of feedback."""
    counter = BinCounter(profile)
    return {
        names.REQUESTS: len(names.CODES) * ARMS,
        names.ROWS: 1,
        names.FEATURE: len(counter.input_series),
        names.UNSEEN: len(counter.unseen_series),
        names.PREDICTION: len(counter.output_series),
        names.DURATION: len(bounds) + 3,
        names.MODEL_INFO: 1,
        names.MODEL_INPUTS: len(client_inputs.parts(client_inputs.to_text([each.name for each in profile.features]))),
        names.EPOCH: 1,
        names.DRAINING: 1,
        names.EXPLANATIONS: len(names.EXPLANATION_CODES),
        names.TRAFFIC_SEQ: 1,
        names.TRAFFIC_SHARE: 1,
        names.FORWARD_DURATION: len(names.LATENCY_BOUNDS) + 3,
    }


def rollouts() -> dict[str, int]:
    """Most series by metric of the rollouts that are kept."""
    kept = names.KEPT_ROLLOUTS
    return {
        names.ARM_REQUESTS: kept * sum(len(outcomes) for outcomes in names.ARM_OUTCOMES.values()),
        names.ARM_RESCUED: kept,
        names.ARM_DRAWN: kept * len(names.DRAWN_BY) * ARMS,
        names.ARM_EXEMPT: kept,
        names.TRAFFIC_REALISED: 1,
        names.SHADOW_REQUESTS: kept * len(names.SHADOW_OUTCOMES),
        names.SHADOW_DIFFERENCE: kept * (len(names.SHADOW_BOUNDS) + 3),
    }


def feedback(profile: Profile, cohorts: int) -> dict[str, int]:
    """Series by metric while labels are taken and those of `cohorts` pairs of a revision and a rollout are kept."""
    ages = len(names.AGES)
    outcomes = {names.FEEDBACK: len(names.FEEDBACK_OUTCOMES)}
    if not isinstance(profile.output, ClassBins):
        return {**outcomes, names.LABEL_ERRORS: cohorts * len(names.ERROR_BINS) * ages}
    classes = profile.output.classes
    return {
        **outcomes,
        names.LABELS: cohorts * len(answers_and_truths(classes)) * ages,
        names.LABEL_CONFIDENCE: len(classes) * (len(profile.output.bins) - 1) * len(names.LABEL_OUTCOMES),
    }


def answers_and_truths(classes: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Values of (predicted, actual, outcome) of names.LABELS: which confusions are told apart."""
    known = (*classes, names.OTHER)
    if len(classes) > names.ACTUAL_CLASSES:
        right = [(each, each, names.LABEL_CORRECT) for each in known]
        return (*right, *((each, names.OTHER, names.LABEL_WRONG) for each in known))
    pairs = [(predicted, actual) for predicted in known for actual in known]
    told = [(one, two, names.LABEL_CORRECT if one == two else names.LABEL_WRONG) for one, two in pairs]
    return (*told, (names.OTHER, names.OTHER, names.LABEL_WRONG))


def total(*parts: Mapping[str, int]) -> int:
    """All of them."""
    return sum(sum(part.values()) for part in parts)
