#!/usr/bin/env python3
"""Times the default A/B: wall time, CPU time and peak memory over several runs, each with its reports.

    bench_ab.py [--runs N] [--threads N] [--raw FILE] KVBITS
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

REFERENCE_SECONDS = 102.9
FIGURES = (("wall", "s", "wall time"), ("cpu", "s", "CPU time"), ("peak", "MB", "kvbits' peak memory"))


def high_water(pid):
    """Peak resident megabytes of a running process so far, 0 when it is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


def start(command, folder):
    return subprocess.Popen([*command, "--out", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def finish(process, status):
    process.returncode = os.waitstatus_to_exitcode(status)
    complaint = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode != 0:
        sys.exit(f"bench_ab: {' '.join(process.args)} ended with exit code {process.returncode}: {complaint}")


def timed_run(command, folder):
    """Wall and CPU seconds of one run, children included."""
    begin = time.perf_counter()
    process = start(command, folder)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    finish(process, status)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


def watched_run(command, folder):
    """Peak memory, in a run of its own: watching takes time. (wait4's ru_maxrss would count this program's memory too,
    which the child holds until it becomes the command.)"""
    process = start(command, folder)
    peak, done = 0.0, 0
    while not done:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.002)
        done, status = os.waitpid(process.pid, os.WNOHANG)
    finish(process, status)
    return peak


def processor():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kvbits", help="the command, such as build/kvbits")
    parser.add_argument("--runs", type=int, default=7, help="after one to warm up (default 7)")
    parser.add_argument("--threads", type=int, help="the command's --threads")
    parser.add_argument("--raw", help="write every run as JSON here")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1, not {arguments.runs}")
    command = [arguments.kvbits, "ab"] + (["--threads", str(arguments.threads)] if arguments.threads else [])
    with tempfile.TemporaryDirectory() as folder:
        timed_run(command, folder)  # warms the page cache
        runs = [timed_run(command, folder) for _ in range(arguments.runs)]
        for run in runs[:3]:
            run["peak"] = watched_run(command, folder)
    version = subprocess.run([arguments.kvbits, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    machine = {"processor": processor(), "processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
               "system": platform.platform(), "version": version, "command": " ".join(command)}
    print(f"{version}, `{machine['command']}` on {machine['processors']} x {machine['processor']}, load {machine['load']:.1f}")
    print(f"{arguments.runs} runs after one to warm up" + f"{'median':>14}{'least':>10}{'most':>10}")
    for key, unit, title in FIGURES:
        values = [run[key] for run in runs if key in run]
        figures = "".join(f"{value:10.2f}" if unit == "s" else f"{value:10.1f}"
                          for value in (statistics.median(values), min(values), max(values)))
        print(f"{title + ', ' + unit:30}{figures}")
    print(f"The reference figure is {REFERENCE_SECONDS} s: another implementation, on one thread.")
    if arguments.raw:
        pathlib.Path(arguments.raw).write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
