"""`python -m benchmarks.export_worker SOURCE OUTPUT VERIFY`: an export that tells its phases.

It prints a line of JSON when a phase begins, and goes on when a line is written to it: whoever
measures sets its marks meanwhile. Started by `benchmarks.export_memory`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from exporter.export import export
from exporter.phases import observed

_OUT = sys.stdout
"""As it is before torch's own lines are kept off it, which a phase may begin within."""


def _tell(component: str, phase: str) -> None:
    line = {"component": component, "phase": phase, "cpu_seconds": time.process_time()}
    print(json.dumps(line), file=_OUT, flush=True)
    sys.stdin.readline()


def main(source: Path, output: Path, verify: Any) -> None:
    """Exports, and tells when what was imported is there, when a phase begins, and the end."""
    _tell("", "open")
    with observed(_tell):
        export(source, output, verify=verify, progress=lambda line: print(line, file=sys.stderr))
    _tell("", "end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
