"""The rates of `benchmarks.bench.peaks`, measured in a process of its own.

Threads of a BLAS are set by its environment before NumPy is imported, hence the process. It is run
by its path and imports nothing of the project: `python -P peak_rates.py THREADS`, JSON on stdout.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import numpy as np

PRODUCT_SIZES = (384, 512, 768, 1024, 2048)
"""Of square matrices: small ones are best where caches are small, and fit between what else the
machine does; large ones where cores are many. One that would take longer than `PRODUCT_SECONDS` is
left out."""
PRODUCT_SECONDS = 0.25
"""For each size. The best of many short products finds moments in which nothing else runs."""

COPY_BYTES = 256 * 2**20
"""Of each of the two arrays, all threads together; no processor's last cache holds both."""
COPY_SECONDS = 0.8


def product_flops_per_s(size: int) -> float:
    """Best rate of a float32 product of square matrices, operations a second."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((size, size), np.float32) for _ in range(2))
    out = np.empty_like(a)
    best, end = float("inf"), time.perf_counter() + PRODUCT_SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def best_flops_per_s() -> float:
    """Best rate over all sizes."""
    best = 0.0
    for size in PRODUCT_SIZES:
        if best and 2 * size**3 / best > PRODUCT_SECONDS:
            break
        best = max(best, product_flops_per_s(size))
    return best


def copy_bytes_per_s(threads: int, size_bytes: int) -> float:
    """Best rate of a copy, each thread its own part: bytes read and written, a second."""
    source = np.ones(size_bytes // 4, np.float32)
    target = np.ones_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    gate, over = threading.Barrier(threads + 1), threading.Event()

    def work(part: int) -> None:
        while True:
            gate.wait()
            if over.is_set():
                return
            np.copyto(parts[part][1], parts[part][0])  # without the interpreter's lock
            gate.wait()

    for i in range(threads):
        threading.Thread(target=work, args=(i,), daemon=True).start()
    best, end = float("inf"), time.perf_counter() + COPY_SECONDS
    while time.perf_counter() < end:
        gate.wait()
        began = time.perf_counter()
        gate.wait()
        best = min(best, time.perf_counter() - began)
    over.set()
    gate.wait()
    return 2 * source.nbytes / best


def main(threads: int, copy_bytes: int) -> None:
    """Prints both rates as JSON."""
    rates = {
        "flops_per_s": best_flops_per_s(),
        "bytes_per_s": copy_bytes_per_s(threads, copy_bytes),
    }
    print(json.dumps(rates))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
