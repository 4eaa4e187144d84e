"""``python -m mixtura``: the same as the command ``mixtura``."""

import sys

from mixtura.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
