"""Acto for ModelDeployments: any history of specs, faults and pauses ends where the last spec alone would have ended."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.deployment_lab import IMAGE, OTHER_PEM, PEM, Lab, digest, model
from fakes.faults import RaiseAt, crash, lost_response
from fakes.workloads import Behaviour

LETTERS = "abcd"
BEHAVIOURS = st.fixed_dictionaries({digest(letter): st.sampled_from(Behaviour) for letter in LETTERS})
SPECS = st.fixed_dictionaries(
    {
        "model": st.sampled_from([model(letter) for letter in LETTERS]),
        "server": st.fixed_dictionaries({"replicas": st.integers(1, 2)}),
        "strategy": st.sampled_from(
            [{"canary": {"guardWindow": window}} for window in ("2s", "5s")]
            + [{"canary": {"guardWindow": "2s", "steps": [{"shadow": {"weight": 50, "duration": "3s"}}]}}]
        ),
        "revisionHistoryLimit": st.integers(0, 2),
        "progressDeadlineSeconds": st.just(20),
    },
    optional={"paused": st.booleans()},
)
FAULTS = st.one_of(st.none(), st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([crash, lost_response])))
TURNS = st.lists(
    st.tuples(SPECS, st.integers(0, 12), FAULTS, st.sampled_from([PEM, OTHER_PEM, None]), st.booleans()), max_size=5
)

Turn = tuple[dict[str, Any], int, Any, str | None, bool]


async def live_through(lab: Lab, turns: list[Turn]) -> None:
    """Each turn: a spec, some seconds with perhaps a fault, another trust set, perhaps a newer operator."""
    for spec, seconds, fault, pem, newer in turns:
        lab.apply(**spec)
        lab.trust(pem)
        lab.serving_image = IMAGE.replace("1" * 64, "2" * 64) if newer else IMAGE
        if fault is not None:
            position, landed, error = fault
            lab.fault(RaiseAt(position, error), landed=landed)
        await lab.run(seconds=seconds)
        lab.no_fault()


def final(letter: str) -> dict[str, Any]:
    """The last spec: healthy, whatever came before."""
    return {"model": model(letter), "server": {"replicas": 2}, "strategy": {"canary": {"guardWindow": "2s"}}}


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(behaviours=BEHAVIOURS, turns=TURNS, letter=st.sampled_from(LETTERS))
@example(
    behaviours={digest("b"): Behaviour.UNSIGNED},
    turns=[(final("a"), 8, None, PEM, False), (final("b"), 6, None, PEM, False), (final("b"), 0, None, None, False)],
    letter="b",
)
def test_any_history_ends_like_the_last_spec_alone_engineering_42_80(
    behaviours: dict[str, Behaviour], turns: list[Turn], letter: str
) -> None:
    async def scenario() -> None:
        lab = Lab(dict(behaviours))
        await live_through(lab, turns)
        lab.behaviours.clear()
        lab.serving_image = IMAGE
        lab.trust(PEM + OTHER_PEM)
        # A content rejection outlives its cause on purpose: the last spec names a model nothing else has named.
        last = final(letter) | {"model": model("e")}
        lab.apply(**last)
        await lab.run(seconds=30)
        alone = Lab()
        alone.trust(PEM + OTHER_PEM)
        alone.apply(**last)
        await alone.run(seconds=12)
        await lab.close_doors()
        assert lab.end_state() == alone.end_state()
        assert await lab.quiet() == []

    asyncio.run(scenario())


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(behaviours=BEHAVIOURS, turns=TURNS)
def test_any_history_comes_to_rest_and_says_why(behaviours: dict[str, Behaviour], turns: list[Turn]) -> None:
    async def scenario() -> None:
        lab = Lab(dict(behaviours))
        lab.apply(**final("a"), progressDeadlineSeconds=20)
        await live_through(lab, turns)
        await lab.run(seconds=120, step=4)
        assert lab.condition("Reconciling") is None or lab.reason in ("Paused", "ReplicasNotReady")
        assert await lab.quiet() == []

    asyncio.run(scenario())
