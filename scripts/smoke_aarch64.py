"""Draws the demo's picture on an emulated ARM processor and compares it with this machine's.

    make smoke-aarch64

On Debian, on any processor. Everything is fetched into `build/aarch64`: QEMU's user emulation and
an ARM system of Debian's own packages, and the ARM wheels of `constraints.txt`. Nothing is
installed on this machine, and no rights beyond the user's are needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "build" / "aarch64"
SYSTEM, SITE = WORK / "system", WORK / "site"
QEMU = WORK / "qemu" / "usr" / "bin" / "qemu-aarch64-static"

PROMPT = "a large red circle in the top left on a white background"
SETTINGS = ("--steps", "5", "--guidance-scale", "2", "--seed", "0")
TARGETS = ("onnxruntime", "openvino")
PSNR_DB = 45.0
"""What the project asks of a picture beside diffusers' own."""

PYTHON = "3.11"
GLIBC = ("2014", "_2_17", "_2_27", "_2_28", "_2_31", "_2_34", "_2_35")
"""Wheels for these glibcs run on Debian 12's."""

# A Cortex-A72, the processor of a Raspberry Pi 4. QEMU before 8 shows an ARM program the host's own
# files, and onnxruntime dies while it reads an x86 processor's.
CPU = "cortex-a72"
CPUINFO = """processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
MIDR = "0x00000000410fd083\n"


def main() -> int:
    """Fetches what is missing, draws with each engine on both processors, compares."""
    fetch_emulator()
    fetch_system()
    fetch_wheels()
    worst = min(compare(target) for target in TARGETS)
    return 0 if worst >= PSNR_DB else 1


def fetch_emulator() -> None:
    """QEMU from Debian's package, unpacked."""
    if not QEMU.exists():
        for package in fetch_packages("host", None, ["qemu-user-static"]):
            unpack(package, WORK / "qemu")


def fetch_system() -> None:
    """Python and the C++ library for ARM, and the files that tell an ARM processor."""
    if not (SYSTEM / "usr" / "bin" / f"python{PYTHON}").exists():
        wanted = [f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6"]
        for package in fetch_packages("arm64", "arm64", wanted):
            unpack(package, SYSTEM)
    (SYSTEM / "proc").mkdir(exist_ok=True)
    told = "".join(CPUINFO.format(index=index) for index in range(os.cpu_count() or 1))
    (SYSTEM / "proc" / "cpuinfo").write_text(told, encoding="ascii", newline="\n")
    for index in range(os.cpu_count() or 1):
        midr = SYSTEM / "sys" / "devices" / "system" / "cpu" / f"cpu{index}" / "regs"
        midr = midr / "identification" / "midr_el1"
        midr.parent.mkdir(parents=True, exist_ok=True)
        midr.write_text(MIDR, encoding="ascii", newline="\n")


def fetch_packages(name: str, architecture: str | None, packages: Sequence[str]) -> list[Path]:
    """Downloads Debian packages, with what they need where an architecture is named.

    apt gets a state of its own, in which nothing is installed: this machine's stays as it is.
    """
    state = WORK / "apt" / name
    archives = state / "archives"
    for folder in (state / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    apt = ["apt-get", "--quiet=2", f"--option=Dir::State={state}"]
    apt += [f"--option=Dir::State::status={state / 'status'}"]
    apt += [f"--option=Dir::State::Lists={state / 'lists'}"]
    apt += [f"--option=Dir::Cache={state}", f"--option=Dir::Cache::archives={archives}"]
    apt += ["--option=Debug::NoLocking=1", "--option=APT::Sandbox::User="]
    apt += ["--option=APT::Install-Recommends=0", *debian_sources()]
    if architecture:
        apt += [f"--option=APT::Architecture={architecture}"]
        apt += [f"--option=APT::Architectures={architecture}"]
    call([*apt, "update"])
    if architecture:
        call([*apt, "install", "--yes", "--download-only", *packages])
    else:
        call([*apt, "download", *packages], cwd=archives)
    return sorted(archives.glob("*.deb"))


def debian_sources() -> list[str]:
    """Debian's own sources alone: others may lack the architecture."""
    own = Path("/etc/apt/sources.list.d/debian.sources")
    if not own.exists():
        return []
    return [f"--option=Dir::Etc::SourceList={own}", "--option=Dir::Etc::SourceParts=/dev/null"]


def unpack(package: Path, folder: Path) -> None:
    """Unpacks a Debian package without running its scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    call(["dpkg-deb", "--extract", str(package), str(folder)])


def fetch_wheels() -> None:
    """The project's wheel, and the ARM wheels of what it needs, with both engines."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    built = WORK / "wheel"
    for old in built.glob("*.whl"):
        old.unlink()
    call([*pip, "wheel", "--no-deps", "--wheel-dir", str(built), str(REPOSITORY)])
    (wheel,) = built.glob("latedge-*.whl")
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise SystemExit(f"{wheel.name} is not pure Python")
    install = [*pip, "install", "--target", str(SITE), "--upgrade", "--only-binary=:all:"]
    install += ["--python-version", PYTHON, "--implementation", "cp"]
    install += [f"--platform=manylinux{version}_aarch64" for version in GLIBC]
    install += ["--constraint", str(REPOSITORY / "constraints.txt")]
    if not (SITE / "onnxruntime").exists():
        call([*install, f"{wheel}[onnxruntime]"])
        # Without what it needs, which is numpy, there already, and its telemetry, a source package.
        call([*install, "--no-deps", "openvino"])
    call([*install, "--no-deps", str(wheel)])


def compare(target: str) -> float:
    """Draws with an engine here and on ARM; prints and returns the PSNR in dB."""
    bundle = WORK / f"shapes.{target}"
    if not bundle.exists():
        portable = WORK / "shapes.bundle"
        if not portable.exists():
            model = REPOSITORY / "benchmarks" / "shapes" / "model"
            latedge(["export", str(model), "-o", str(portable), "--verify", "none"])
        latedge(["compile", str(portable), "--target", target, "-o", str(bundle)])
    here, there = WORK / f"{target}-here.png", WORK / f"{target}-aarch64.png"
    latedge(["generate", str(bundle), PROMPT, *SETTINGS, "-o", str(here)])
    python = SYSTEM / "usr" / "bin" / f"python{PYTHON}"
    emulated = [str(QEMU), "-cpu", CPU, "-L", str(SYSTEM), str(python), "-m", "latedge"]
    arguments = ["generate", str(bundle), PROMPT, *SETTINGS, "-o", str(there)]
    call([*emulated, *arguments], cwd=WORK, PYTHONPATH=str(SITE), LATEDGE_CACHE=str(WORK / "cache"))
    one, other = (np.asarray(Image.open(path), np.float64) for path in (here, there))
    if one.std() < 10:
        raise SystemExit(f"{here} shows nothing")
    error = float(np.mean((one - other) ** 2))
    psnr_db = float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
    print(f"{target}: {psnr_db:.1f} dB between this machine's picture and aarch64's")
    return psnr_db


def latedge(arguments: Sequence[str]) -> None:
    """Runs the command line on this machine."""
    call([sys.executable, "-m", "latedge", *arguments], cwd=REPOSITORY)


def call(command: Sequence[str], cwd: Path = REPOSITORY, **variables: str) -> None:
    """Runs a command; ends with its own message where it fails."""
    environment: Mapping[str, str] = {**os.environ, **variables}
    if subprocess.run(command, cwd=cwd, env=environment, check=False).returncode:
        raise SystemExit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
