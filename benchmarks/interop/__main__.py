"""`python -m benchmarks.interop`."""

import sys

from benchmarks.interop.command import main

raise SystemExit(main(sys.argv[1:]))
