"""What the pods of a canary are told of the inputs that clients send. Pure.

Owns who is told: a canary that needs some of stable's inputs, or all of them in another order, where both servers say their names.
Told pods read a single tensor in the order that clients know, before and after they are promoted: it stays in their stored template.
"""

from modelcycle.deployment.counting import Fit, client_inputs, fit
from modelcycle.deployment.status import State
from modelcycle.deployment.transition import is_return
from modelcycle.deployment.world import World


def inputs_to_tell(world: World, state: State) -> tuple[str, ...]:
    """Names in the order in which clients send them; () where the canary reads them so already, or cannot."""
    canary, stable = state.canary, state.stable
    if canary is None or stable is None or is_return(state, canary):
        return ()
    if fit(world, canary.ref.revision, stable.revision) is not Fit.BY_NAME:
        return ()
    return client_inputs(world, stable.revision)
