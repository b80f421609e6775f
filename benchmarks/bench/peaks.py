"""The machine's own limits: how fast it multiplies matrices and copies memory, at best.

The peak of multiplication is what NumPy's BLAS reaches in float32, not the processor's theoretical
one: a rate that a program can have here, whatever the vendor's tables say. On two cores of a Zen 4
EPYC OpenBLAS 0.3.31 reaches 106 GFLOP/s with one thread and 204 with two; the best that engines
reach there is 110 and 220 (ONNX Runtime 1.32.0, a product of 512×512) and 100 (OpenVINO 2026.4.1),
in convolutions less. So a share of this peak can be 1.08 for a lone product, and is below 1 for
networks. On macOS the BLAS is Apple's, which uses matrix units that engines may not: a share of
that peak is small by nature.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from benchmarks.bench import peak_rates
from benchmarks.bench.cgroup import read_limits
from benchmarks.bench.machine import usable_cores
from benchmarks.bench.results import Peaks
from runtimes.errors import LatedgeError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Each BLAS that NumPy may have reads one of them."""

TIMEOUT_S = 120
MEMORY_SHARE = 8
"""The two arrays of the copy take at most a quarter of the memory that is free."""


class PeakError(LatedgeError):
    """The machine's peaks could not be measured."""


def measure_peaks(threads: int | None) -> Peaks:
    """Measures both peaks with the threads of the run; some 2 s.

    Nothing else should run meanwhile: the best of many is taken, but a machine that others use all
    the time has no good moment for a product on all cores.

    Args:
        threads: None for as many as there are cores that may be used, those of simultaneous
            multithreading counted once.

    Raises:
        PeakError: the process that measures failed; its last line is in the message.
    """
    count = threads or default_threads()
    command = [sys.executable, "-P", peak_rates.__file__, str(count), str(copy_bytes())]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        rates = msgspec.json.decode(done.stdout, type=dict[str, float])
    except subprocess.CalledProcessError as e:
        last = (e.stderr.strip().splitlines() or [f"exit status {e.returncode}"])[-1]
        raise PeakError(f"the machine's peaks could not be measured: {last}.") from e
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError) as e:
        raise PeakError(f"the machine's peaks could not be measured: {e}.") from e
    return Peaks(**rates, threads=count)


def default_threads() -> int:
    """As many as the engines take by themselves: one for each physical core that may be used."""
    import psutil

    usable = usable_cores(read_limits())
    return min(usable, psutil.cpu_count(logical=False) or usable)


def copy_bytes() -> int:
    """Size of each array of the copy: well beyond the caches, and no strain on a small machine."""
    import psutil

    return min(peak_rates.COPY_BYTES, psutil.virtual_memory().available // MEMORY_SHARE)
