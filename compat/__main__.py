"""``python -m compat``."""

import sys

from compat.cli import main

if __name__ == "__main__":
    sys.exit(main())
