"""What a real API server says when it refuses a call of kubectl, and which admission policy says it."""

import subprocess
from collections.abc import Callable


def refusal(call: Callable[[], str]) -> str:
    """What the API server says when it refuses; "" when it does not."""
    try:
        call()
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


def refused_by(call: Callable[[], str], policy: str, words: str) -> bool:
    """Whether this policy refuses the call, and says why."""
    said = refusal(call)
    return f"ValidatingAdmissionPolicy '{policy}'" in said and words in said
