"""Which keys of a store Secret become environment of a program. Standard library only.

Owns the list. A Secret is named by people who may not choose what a verifying program runs: whatever is not on the list stays unread.
"""

from collections.abc import Mapping
from typing import Final

from modelcycle_bundle.layout import STORE_ENV_PREFIX

_FAMILIES: Final = ("AWS_", "GOOGLE_", "AZURE_")
_NETWORK: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def of_store(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of the store Secrets under their own names: credentials, and how the network is reached."""
    keys = {
        name.removeprefix(STORE_ENV_PREFIX): value
        for name, value in environment.items()
        if name.startswith(STORE_ENV_PREFIX)
    }
    return {name: value for name, value in keys.items() if name.startswith(_FAMILIES) or name in _NETWORK}
