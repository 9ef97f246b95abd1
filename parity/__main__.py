"""`python -m parity`: the same as `parity`."""

import sys

from parity.cli.main import main

sys.exit(main())
