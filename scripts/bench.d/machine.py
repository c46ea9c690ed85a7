"""What the kernel counts: CPU time and memory of processes, time that the hypervisor took, and what machine this is.

CPU time per request is the figure to trust: it stays the same where rates and latencies are those of the machine's mood.
/proc/PID/stat has it for all of a process's threads, those that have ended included, in hundredths of a second.
"""

import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """User and system time of processes, all their threads included."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _kib(text, key):
    return sum(int(number) for number in re.findall(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE))


def resident_mib(pids):
    return sum(_kib(pathlib.Path(f"/proc/{pid}/status").read_text(), "VmRSS") for pid in pids) / 1024


def peak_resident_mib(pids):
    """The most that was ever resident, by the kernel's own mark."""
    return sum(_kib(pathlib.Path(f"/proc/{pid}/status").read_text(), "VmHWM") for pid in pids) / 1024


def private_dirty_mib(pids):
    """What the processes wrote themselves and share with nobody: memory that would be free without them."""
    return sum(_kib(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), "Private_Dirty") for pid in pids) / 1024


def machine_ticks():
    """(stolen, all) ticks of all processors since the start of the machine."""
    fields = [int(each) for each in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)


def _driver_seconds():
    """CPU time of this process and of children that have ended (wrk): what it took to ask."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + child.ru_utime + child.ru_stime


class Meter:
    """Counts while a block runs: CPU of the processes and of the driver, time, and the share that was stolen."""

    def __init__(self, pids):
        self.pids = pids

    def __enter__(self):
        self._ticks, self._cpu, self._driver = machine_ticks(), cpu_seconds(self.pids), _driver_seconds()
        self._start = time.monotonic()
        return self

    def __exit__(self, kind, *_):
        self.seconds = time.monotonic() - self._start
        if kind is not None:
            return
        self.cpu_seconds = cpu_seconds(self.pids) - self._cpu
        stolen, total = (now - then for now, then in zip(machine_ticks(), self._ticks))
        # One tick is what rounding can make of nothing.
        self.steal_percent = 100 * max(0, stolen - 1) / max(1, total)
        self.driver_percent = 100 * (_driver_seconds() - self._driver) / self.seconds


def _first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ((done.stdout + done.stderr).strip().splitlines() or ["?"])[0]


def _file_system(directory):
    """The type of the file system that a directory is on."""
    done = subprocess.run(["df", "--output=fstype", str(directory)], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.split()[-1] if done.stdout else "?"


def describe(program, directory):
    """What a reader has to know to compare these figures with others."""
    model = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="?([^"\n]+)', pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    versions = {
        "nginx": _first_line("nginx", "-v").rpartition("/")[2],
        "docker-registry": " ".join(_first_line("docker-registry", "--version").split()[-1:]),
        "wrk": (_first_line("wrk", "-v").split() + ["", "?"])[1].rpartition("/")[2],
        "ociregistry": " ".join(_first_line(program, "--version").split()[-1:]),
    }
    return {
        "cores": os.cpu_count(), "cpu": model.group(1) if model else platform.machine(),
        "kernel": platform.release().split("-")[0], "system": system.group(1) if system else "Linux",
        "memory_gib": round(memory, 1), "file_system": _file_system(directory),
        # A machine's default for all that is sent: "bbr" spreads a body over time, on the loopback device too.
        "congestion_control": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "free_gib": round(shutil.disk_usage(directory).free / (1 << 30), 1), "versions": versions,
    }
