"""`python3 hack/cluster`: the command line of devcluster. Holds no logic, so that every part can be imported by tests."""

import sys

from devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
