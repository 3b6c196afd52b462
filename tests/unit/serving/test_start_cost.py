"""What a start may not do again and again: on a wide model it was most of the time until readiness."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelcycle_bundle.profile import Profile
from modelcycle_serving import model
from modelcycle_serving.counters import Counters


def test_the_profile_is_written_out_once_and_not_for_every_series(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = model.load(bundles["classes"], None)
    written: list[Profile] = []
    to_json = Profile.to_json

    def counted(profile: Profile) -> str:
        written.append(profile)
        return to_json(profile)

    monkeypatch.setattr(Profile, "to_json", counted)

    Counters(loaded, "r1", "pod-1", 0.0)

    assert len(written) == 1


def test_a_start_imports_nothing_that_only_explanations_need() -> None:
    only = ("google.protobuf", "modelcycle_serving.explain.graph", "modelcycle_serving.explain.explainer")
    script = f"import sys, modelcycle_serving.server; print(sorted(set({only}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
