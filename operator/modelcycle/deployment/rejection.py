"""How long a rejection stands, and for what: by its reason, until a Retry, an edit of the spec, or other trusted keys. Pure."""

from dataclasses import replace
from typing import Final

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import Rejection, State
from modelcycle.deployment.world import World

UNTIL_RETRY: Final = frozenset(
    {
        Reason.DIGEST_MISMATCH,
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_INVALID,
        Reason.PROVENANCE_INVALID,
        Reason.BUNDLE_MALFORMED,
        Reason.GOLDEN_MISMATCH,
        Reason.CANARY_FAILED,
        Reason.CANARY_FAIL_FAST,
        Reason.CANARY_CRASHED,
        Reason.INCOMPATIBLE_SIGNATURE,
        Reason.INCONCLUSIVE,
        Reason.ABORTED,
    }
)
"""Stands until a Retry, for the same revision at least. Any other reason is tried anew after an edit of the spec."""
TRUST_REASONS: Final = frozenset({Reason.NO_TRUSTED_KEY, Reason.SIGNATURE_INVALID, Reason.PROVENANCE_INVALID})
"""Depend on the trust set: tried anew when it changes."""


ANSWER_REASONS: Final = frozenset(
    {Reason.CANARY_FAILED, Reason.CANARY_FAIL_FAST, Reason.INCOMPATIBLE_SIGNATURE, Reason.ABORTED}
)
"""The model's answers were refused, or a person refused it: so is the same digest from another place or in other pods."""


def with_editions(world: World, state: State) -> State:
    """What the first release rejected under the present generation belongs to the present edition: it stored no hash."""
    unmarked = {
        item for item in state.rejected if not item.edition.hash and item.edition.generation == world.generation
    }
    if not unmarked:
        return state
    marked = (replace(item, edition=world.edition) if item in unmarked else item for item in state.rejected)
    return replace(state, rejected=tuple(marked))


def standing_rejection(world: World, state: State, target: Target) -> Rejection | None:
    """The rejection that keeps the target from being tried, None when there is none or it no longer holds."""
    wanted = target.hash
    serves = state.stable is not None and state.stable.digest == target.digest
    for item in state.rejected:
        same_model = item.reason in ANSWER_REASONS and item.ref.digest == target.digest and not serves
        if item.ref.revision != wanted and not same_model:
            continue
        retrusted = item.reason in TRUST_REASONS and item.trust != world.trust.hash
        edited = item.reason not in UNTIL_RETRY and world.edition.is_edit_of(item.edition)
        if not retrusted and not edited:
            return item
    return None
