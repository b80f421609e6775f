"""What of a machine is noted in pictures."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from runtimes.machine import _processor, machine  # pyright: ignore[reportPrivateUsage]

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 85
model name\t: Intel(R) Xeon(R) CPU @ 2.00GHz
flags\t\t: fpu avx2 fma sse4_2 avx512f avx512_vnni ssse3
processor\t: 1
model name\t: Intel(R) Xeon(R) CPU @ 2.00GHz
"""
ARM = """processor\t: 0
Features\t: fp asimd crc32 asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (X86, ("Intel(R) Xeon(R) CPU @ 2.00GHz", "sse4_2 fma avx2 avx512f avx512_vnni")),
        (ARM, ("Raspberry Pi 5 Model B Rev 1.0", "asimd asimddp")),
        ("", ("", "")),
    ],
)
def test_linux_tells_model_and_vector_instructions(
    tmp_path: Path, text: str, found: tuple[str, str]
) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert _processor(tmp_path / "cpuinfo") == found


def test_elsewhere_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROCESSOR_IDENTIFIER", raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert _processor(tmp_path / "none") == ("arm", "")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", "Intel64 Family 6 Model 85 Stepping 4")
    assert _processor(tmp_path / "none") == ("Intel64 Family 6 Model 85 Stepping 4", "")


def test_this_machine_is_one_line() -> None:
    assert machine().startswith(f"{platform.machine()}, ")
    assert machine().split(", ")[-1].split()[1] in ("core", "cores")
    assert "\n" not in machine()
