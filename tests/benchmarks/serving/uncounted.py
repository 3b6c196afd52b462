"""The model server without its counts of rows and bins, to see what they cost. Takes the server's own arguments.

Here and not in the server: nothing that is shipped can serve uncounted.
"""

import os
import sys

from modelcycle_serving.__main__ import main
from modelcycle_serving.backlog import Backlog


def _nothing(*_: object) -> None:
    """Count no row."""


if __name__ == "__main__":
    assert callable(Backlog.add)
    Backlog.add = _nothing  # type: ignore[assignment,method-assign]
    sys.exit(main(sys.argv[1:], os.environ))
