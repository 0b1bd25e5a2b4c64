"""What a report says of the machine."""

import os
import platform

import numpy as np

from polypseg import machine


def test_processor_is_linux_own_word(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2: fast\nmodel name\t: Other\n", encoding="utf-8")
    assert machine.processor(info) == "Some CPU @ 2: fast"


def test_processor_without_that_word_is_pythons(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (tmp_path / "cpuinfo").write_text("processor : 0\n", encoding="utf-8")
    assert machine.processor(tmp_path / "cpuinfo") == "aarch64"
    assert machine.processor(tmp_path / "none") == "aarch64"


def test_line_of_the_machine(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda: "Some CPU")
    monkeypatch.setattr(machine, "instruction_set", lambda: "AVX2")
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(machine, "memory_gib", lambda: 7.6)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0, 0), raising=False)
    assert machine.machine() == "Some CPU, AVX2, 3 cores, 8 GiB, Linux x86_64, load 1.2"
    monkeypatch.setattr(machine, "memory_gib", lambda: None)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    monkeypatch.setattr(machine, "instruction_set", lambda: "")
    assert machine.machine() == "Some CPU, 3 cores, Linux x86_64"


def test_cores_are_those_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert machine.usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1


def test_memory_of_pages(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**19}.__getitem__, raising=False)
    assert machine.memory_gib() == 2.0
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert machine.memory_gib() is None


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package-at-all"))
    assert machine.versions() == f"Python {platform.python_version()}, numpy {np.__version__}"


def cpuinfo(path, flags, word="flags"):
    path.write_text(f"processor\t: 0\n{word}\t\t: {flags}\n", encoding="utf-8")
    return path


def test_instruction_set_is_the_newest_for_integers(tmp_path):
    for flags, expected in (
        ("sse2 avx avx2", "AVX2"),
        ("avx2 avx512f avx512bw", "AVX-512"),
        ("avx2 avx512bw avx512_vnni amx_int8", "AMX"),
        ("avx2 avx512bw avx512_vnni", "AVX-512 VNNI"),
        ("avx2 avx_vnni", "AVX-VNNI"),
        ("sse2", ""),
    ):
        assert machine.instruction_set(cpuinfo(tmp_path / "cpuinfo", flags)) == expected
    assert machine.instruction_set(cpuinfo(tmp_path / "cpuinfo", "fp asimd asimddp", "Features")) == "NEON dot products"
    assert machine.instruction_set(tmp_path / "none") == ""


def test_onednn_may_be_held_back_and_never_gets_more_than_there_is(tmp_path, monkeypatch):
    newest = cpuinfo(tmp_path / "newest", "avx2 avx512bw avx512_vnni")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert machine.onednn_instruction_set(newest) == "AVX-512 VNNI"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert machine.onednn_instruction_set(newest) == "AVX2"
    assert machine.instruction_set(newest) == "AVX-512 VNNI"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    assert machine.onednn_instruction_set(cpuinfo(tmp_path / "old", "avx2")) == "AVX2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    assert machine.onednn_instruction_set(newest) == "AVX-512 VNNI"


def test_processors_without_int8_dot_products():
    assert [name for name in ("AMX", "AVX-VNNI", "AVX-512", "AVX2", "") if not machine.has_int8_dot_products(name)] == [
        "AVX-512",
        "AVX2",
        "",
    ]
