"""A verified model: bundle folder to a warm onnxruntime session.

Owns the checks between the files and the first request: digests, profile, signature of the graph, golden answers. Nothing that
fails one of them is ever served. Single-threaded sessions: one process has one core, more pods are the way to more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import onnxruntime

from modelcycle_bundle import card, layout, manifest
from modelcycle_bundle import outputs as answers
from modelcycle_bundle.failures import Failure, FailureClass, FailureReason
from modelcycle_bundle.golden import Golden, compare
from modelcycle_bundle.outputs import LABEL_NAME, PREDICTION_NAME, PROBABILITIES_NAME
from modelcycle_bundle.profile import BinCounter, ClassBins, Profile, ProfileError
from modelcycle_serving.logs import log
from modelcycle_serving.oip import INPUT, Outputs, OutputSpec, Rows, Signature

T = TypeVar("T")

NEEDED_FILES: Final = (layout.MODEL_FILE, layout.PROFILE_FILE, layout.GOLDEN_FILE, layout.CARD_JSON_FILE)
COMPARED_ALONE: Final = 32
"""Golden rows that are also run one by one."""
MANY_ROWS: Final = 1_000_000
WARM_UP_RUNS: Final = 20
WARM_UP_ROWS: Final = 64
WARM_UP_SECONDS: Final = 0.5
_DATATYPES: Final = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(string)": "BYTES"}
_SERVED: Final = (LABEL_NAME, PROBABILITIES_NAME, PREDICTION_NAME)


class BundleRefused(Exception):
    """The bundle may not be served; `failure` says why, without any value of the golden rows."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(FailureClass.POLICY, reason, message)


@dataclass(frozen=True, slots=True)
class Model:
    """What is served. `run` takes [N, F] float32 and may be called from any thread."""

    digest: str
    signature: Signature
    profile: Profile
    profile_json: bytes
    """The bundle's own file."""
    run: Callable[[Rows], Outputs]
    seconds_base: float
    seconds_per_row: float
    rows_are_independent: bool = True
    """Whether a row's answer is the same in any company, as found with the golden rows: only then are requests run together."""

    @property
    def version(self) -> str:
        """The digest's first 12 hex characters, as in the operator's columns."""
        return self.digest.removeprefix("sha256:")[:12]

    def expected_seconds(self, rows: int) -> float:
        """Time one run takes on this machine, measured when the model was warmed up."""
        return self.seconds_base + rows * self.seconds_per_row

    def rows_within(self, seconds: float) -> int:
        """Most rows whose run is expected to take no longer; MANY_ROWS when rows cost nothing that could be measured."""
        if self.expected_seconds(0) >= seconds:
            return 0
        return int(min((seconds - self.seconds_base) / max(self.seconds_per_row, 1e-12), MANY_ROWS))


def load(bundle: Path, expected_digest: str | None, client_inputs: Sequence[str] = ()) -> Model:
    """Check `bundle`/model and make it ready for clients who send these inputs; (): its own. Raises BundleRefused."""
    folder = bundle / layout.MODEL_DIR
    digest = _checked_digest(folder, expected_digest)
    profile = _parsed(folder / layout.PROFILE_FILE, Profile.parse)
    golden = _parsed(folder / layout.GOLDEN_FILE, Golden.parse)
    session = _session(folder / layout.MODEL_FILE)
    answers_gaps = _parsed(folder / layout.CARD_JSON_FILE, card.accepts_missing)
    signature = _signature(session, profile, answers_gaps, client_inputs)
    run = _runner(session, signature)
    _replay(golden, run, profile)
    independent = _rows_are_independent(golden, run)
    base, per_row = _warm_up(run, len(signature.features))
    profile_json = (folder / layout.PROFILE_FILE).read_bytes()
    return Model(digest, signature, profile, profile_json, run, base, per_row, independent)


def _checked_digest(folder: Path, expected: str | None) -> str:
    if not folder.is_dir():
        raise BundleRefused(
            FailureReason.MODEL_NOT_FOUND, f"{folder}: no such folder; --bundle is the folder that holds model/"
        )
    try:
        found = manifest.digest_directory(folder)
    except (manifest.ManifestError, OSError) as error:
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, f"{folder}: {error}") from error
    missing = [name for name in NEEDED_FILES if found.digest_of(name) is None]
    if missing:
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, f"{folder}: {missing[0]} is missing")
    if expected is not None and found.root != expected:
        message = f"{folder}: the files have the digest {found.root}, expected {expected}"
        raise BundleRefused(FailureReason.DIGEST_MISMATCH, message)
    return found.root


def _parsed(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        # The parsers' errors name fields only; a decoding error would quote bytes.
        detail = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, f"{path.name}: {detail}") from error


def _session(path: Path) -> Any:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        message = f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({type(error).__name__})"
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, message) from error


def _signature(
    session: Any,
    profile: Profile,
    accepts_missing: bool,  # noqa: FBT001 - a fact, not a switch
    client_inputs: Sequence[str],
) -> Signature:
    features = tuple(feature.name for feature in profile.features)
    inputs = [(each.name, each.type, each.shape[1:]) for each in session.get_inputs()]
    if inputs != [(INPUT, "tensor(float)", [len(features)])]:
        message = f"{layout.MODEL_FILE}: expected one float32 input named {INPUT} of {len(features)} columns, as in the profile"
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, message)
    served = [each for each in session.get_outputs() if each.name in _SERVED and each.type in _DATATYPES]
    names = {each.name for each in served}
    if names not in ({LABEL_NAME, PROBABILITIES_NAME}, {PREDICTION_NAME}):
        message = (
            f"{layout.MODEL_FILE}: expected the outputs {LABEL_NAME} and {PROBABILITIES_NAME}, or {PREDICTION_NAME}"
        )
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, message)
    classes = profile.output.classes if isinstance(profile.output, ClassBins) else ()
    specs = (
        OutputSpec(
            each.name, _DATATYPES[each.type], _shape(each.shape), classes if each.name == PROBABILITIES_NAME else ()
        )
        for each in served
    )
    return Signature(features, tuple(specs), accepts_missing, _inputs(features, client_inputs))


def _inputs(features: tuple[str, ...], told: Sequence[str]) -> tuple[str, ...]:
    """What clients send, if the model can be answered from it; else its own, which the metrics page then says."""
    if set(features) <= set(told):
        return tuple(told)
    if told:
        lacking = len(set(features) - set(told))
        log.warning(
            "the model needs inputs that clients do not send: only its own are taken", extra={"lacking": lacking}
        )
    return features


def _shape(shape: list[Any]) -> tuple[int, ...]:
    return (-1, *(size if isinstance(size, int) else -1 for size in shape[1:]))


def _runner(session: Any, signature: Signature) -> Callable[[Rows], Outputs]:
    names = list(signature.output_names)

    def run(rows: Rows) -> Outputs:
        return dict(zip(names, session.run(names, {INPUT: rows}), strict=True))

    return run


def _replay(golden: Golden, run: Callable[[Rows], Outputs], profile: Profile) -> None:
    width = len(profile.features)
    if golden.inputs.shape[1] != width:
        message = f"{layout.GOLDEN_FILE}: its rows do not fit the model's {width} columns"
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, message)
    try:
        given = answers.from_arrays(run(golden.inputs))
    except Exception as error:
        message = f"{layout.MODEL_FILE}: the model cannot answer the golden rows ({type(error).__name__})"
        raise BundleRefused(FailureReason.GOLDEN_MISMATCH, message) from error
    comparison = compare(golden, given)
    if not comparison.ok:
        raise BundleRefused(FailureReason.GOLDEN_MISMATCH, f"{layout.GOLDEN_FILE}: {comparison.message}")
    try:
        BinCounter(profile).add_outputs(given)
    except ProfileError as error:
        raise BundleRefused(FailureReason.BUNDLE_MALFORMED, f"{layout.PROFILE_FILE}: {error}") from error


def _rows_are_independent(golden: Golden, run: Callable[[Rows], Outputs]) -> bool:
    """Whether each golden row alone gets the answer that it gets among the others, within the golden answers' tolerance."""
    try:
        alone = [run(golden.inputs[at : at + 1]) for at in range(min(len(golden.inputs), COMPARED_ALONE))]
    except Exception as error:
        message = f"{layout.MODEL_FILE}: the model cannot answer a golden row by itself ({type(error).__name__})"
        raise BundleRefused(FailureReason.GOLDEN_MISMATCH, message) from error
    together = {name: np.concatenate([each[name] for each in alone]) for name in alone[0]}
    inputs = golden.inputs[: len(alone)]
    expected = answers.from_arrays(run(inputs))
    return compare(replace(golden, inputs=inputs, outputs=expected), answers.from_arrays(together)).ok


def _warm_up(run: Callable[[Rows], Outputs], width: int) -> tuple[float, float]:
    """Seconds of a run without rows and seconds a row, from the fastest runs: a busy machine must not look like a slow model."""
    one = _fastest(run, np.zeros((1, width), dtype=np.float32))
    many = _fastest(run, np.zeros((WARM_UP_ROWS, width), dtype=np.float32))
    per_row = max((many - one) / (WARM_UP_ROWS - 1), 0.0)
    return max(one - per_row, 0.0), per_row


def _fastest(run: Callable[[Rows], Outputs], rows: Rows) -> float:
    times: list[float] = []
    while len(times) < WARM_UP_RUNS and sum(times) < WARM_UP_SECONDS:
        begun = time.perf_counter()
        run(rows)
        times.append(time.perf_counter() - begun)
    return min(times)
