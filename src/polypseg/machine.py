"""The machine that a measurement was made on, and the versions that it was made with."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "polypseg",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnxruntime",
    "openvino",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
)
"""Whose versions move the speed of a prediction."""

_INSTRUCTIONS = (
    ("amx_int8", "AMX"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512bw", "AVX-512"),
    ("avx2", "AVX2"),
    ("asimddp", "NEON dot products"),
)
"""Flags of Linux and names, the newest first."""

_LIMITS = {
    "AVX2": "AVX2",
    "AVX2_VNNI": "AVX-VNNI",
    "AVX2_VNNI_2": "AVX-VNNI",
    "AVX512_CORE": "AVX-512",
    "AVX512_CORE_VNNI": "AVX-512 VNNI",
    "AVX512_CORE_BF16": "AVX-512 VNNI",
    "AVX512_CORE_FP16": "AVX-512 VNNI",
}
"""What `ONEDNN_MAX_CPU_ISA` may hold, and its name here; more than these limits nothing."""


def machine() -> str:
    """Processor, cores, memory, system and how busy it is, in one line."""
    own = instruction_set()
    parts = [processor(), *([own] if own else []), f"{usable_cores()} cores"]
    memory = memory_gib()
    if memory is not None:
        parts.append(f"{memory:.0f} GiB")
    parts.append(f"{platform.system()} {platform.machine()}")
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    return ", ".join(parts)


def versions() -> str:
    """Python's and those of the packages that are installed, in one line."""
    found = installed_versions(PACKAGES)
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {number}" for name, number in found.items())])


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of the packages that are installed, in the order given."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's own name where Linux tells it, else Python's word for it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The newest of the processor's instructions that integer kernels use, as `AVX2`; empty where Linux does not tell.

    `ONEDNN_MAX_CPU_ISA` does not count: `onednn_instruction_set` heeds it.
    """
    found = _flags(cpuinfo)
    return next((name for flag, name in _INSTRUCTIONS if flag in found), "")


def onednn_instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As `instruction_set`, for OpenVINO and TensorFlow, whose oneDNN a user may hold back by `ONEDNN_MAX_CPU_ISA`."""
    names = [name for _, name in _INSTRUCTIONS]
    own, limit = instruction_set(cpuinfo), _LIMITS.get(os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), "")
    if own not in names or limit not in names:
        return own
    return max(own, limit, key=names.index)


def has_int8_dot_products(name: str) -> bool:
    """Whether processors of that instruction set add products of 8 bits in 32 bits, rather than two of them in 16.

    >>> has_int8_dot_products("AVX-512 VNNI"), has_int8_dot_products("AVX2")
    (True, False)
    """
    return name not in ("AVX-512", "AVX2", "")


def usable_cores() -> int:
    """Cores that this process may use, which a container or `taskset` may have made fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """The machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return None


def _flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        return set(next(line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))).split())
    except (OSError, StopIteration):
        return set()
