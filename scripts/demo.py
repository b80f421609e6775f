"""`make demo`: the shapes model, exported, compiled for both engines and drawn by each.

Lines that start with $ are commands as a user types them. The tables at the end are measured on
the spot: time and peak memory of each command's process, sizes on disk, and the figures that the
exporter's own verification wrote.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

DEMO = Path("demo")
MODEL = "benchmarks/shapes/model"
PROMPT = "a large red circle in the top left on a white background"
PORTABLE = DEMO / "shapes.bundle"
COMPILED = {"onnxruntime": DEMO / "shapes.ort", "openvino": DEMO / "shapes.ov"}
LATEDGE = Path(sys.executable).with_name("latedge")


@dataclass(frozen=True)
class Run:
    """What a command took.

    Attributes:
        name: the verb, with the target where it has one.
        seconds: from start to end of its process.
        peak_mb: largest resident set, in 10^6 bytes.
        output: what it made.
    """

    name: str
    seconds: float
    peak_mb: float
    output: Path


def run(name: str, arguments: Sequence[str | Path], output: Path) -> Run:
    """Shows and runs a `latedge` command.

    Raises:
        SystemExit: the command failed.
    """
    words = [*map(str, arguments), "-o", str(output)]
    print("\n$", shlex.join(["latedge", *words]), flush=True)
    start = time.perf_counter()
    process = subprocess.Popen([LATEDGE, *words])
    # Of this one process, where getrusage gives the largest of all that have ended.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(f"the command above ended with exit status {code}")
    scale = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return Run(name, seconds, usage.ru_maxrss * scale / 1e6, output)


def run_all() -> list[Run]:
    """Goes the whole way, once per engine from the portable bundle on."""
    runs = [run("export", ["export", MODEL, "--force"], PORTABLE)]
    for target, bundle in COMPILED.items():
        compile_ = ["compile", PORTABLE, "--target", target, "--force"]
        runs.append(run(f"compile, {target}", compile_, bundle))
    for target, bundle in COMPILED.items():
        generate = ["generate", bundle, PROMPT, "--steps", "20", "--guidance-scale", "2"]
        generate += ["--seed", "0"]
        runs.append(run(f"generate, {target}", generate, DEMO / f"{target}.png"))
    return runs


def size_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def verified(bundle: Path) -> Iterable[tuple[str, ...]]:
    """Rows of a bundle's verification.json: component, output, largest difference, PSNR."""
    report = bundle / "verification.json"
    if not report.is_file():
        return
    for component, found in json.loads(report.read_bytes())["components"].items():
        for output, figures in found["outputs"].items():
            psnr = figures["psnr_db"]
            shown = "equal" if psnr is None else f"{psnr:.1f}"
            yield bundle.name, component, output, f"{figures['max_abs']:.1e}", shown


def pictures_psnr_db() -> float:
    """PSNR between the pictures of the two engines, of 8-bit values."""
    one, other = (np.asarray(Image.open(DEMO / f"{name}.png"), float) for name in COMPILED)
    error = np.mean((one - other) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under a header: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print(f"\n{title}")
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join(["", first.ljust(widths[0]), *cells]))


def main() -> None:
    """Runs the commands and prints what they took."""
    DEMO.mkdir(exist_ok=True)
    runs = run_all()
    table(
        "Each command, from the start to the end of its process",
        ("command", "s", "peak MB", "output", "output MB"),
        (
            (
                each.name,
                f"{each.seconds:.1f}",
                f"{each.peak_mb:.0f}",
                str(each.output),
                f"{size_bytes(each.output) / 1e6:.2f}",
            )
            for each in runs
        ),
    )
    table(
        "Against torch, on real inputs (verification.json)",
        ("bundle", "component", "output", "max abs", "PSNR dB"),
        [row for bundle in (PORTABLE, *COMPILED.values()) for row in verified(bundle)],
    )
    print(f"\nPSNR between the two engines' pictures: {pictures_psnr_db():.1f} dB")
    print(f"Now look at {' and '.join(str(DEMO / f'{name}.png') for name in COMPILED)}.")


if __name__ == "__main__":
    main()
