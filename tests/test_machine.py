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
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(machine, "memory_gib", lambda: 7.6)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0, 0), raising=False)
    assert machine.machine() == "Some CPU, 3 cores, 8 GiB, Linux x86_64, load 1.2"
    monkeypatch.setattr(machine, "memory_gib", lambda: None)
    monkeypatch.delattr(os, "getloadavg", raising=False)
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
