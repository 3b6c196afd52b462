"""The stage with the subtly worse model does not depend on luck. The measured figure, from 20,000 rollouts, is in `demo.odds`."""

from demo import objects, odds
from modelcycle.stats.evidence import Verdict


def test_the_worse_model_is_taken_back_in_every_one_of_300_rollouts_long_before_patience_ends() -> None:
    done = odds.rollouts(300, seed=3)
    assert {rollout.verdict for rollout in done} == {Verdict.FAIL}
    assert max(rollout.seconds for rollout in done) <= objects.PATIENCE_SECONDS / 2


def test_the_simulated_traffic_has_the_rates_that_the_story_tells() -> None:
    asked = odds.traffic()
    assert round(float(asked.canary_bad.mean()), 4) == round(28 / 569, 4)
    assert round(float(asked.stable_bad.mean()), 4) == round(6 / 569, 4)
