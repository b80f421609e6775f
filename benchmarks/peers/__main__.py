"""`python -m benchmarks.peers`."""

import sys

from benchmarks.peers.command import main

raise SystemExit(main(sys.argv[1:]))
