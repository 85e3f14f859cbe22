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
FIGURES = (("wall", "s", "wall time"), ("cpu", "s", "CPU time"), ("peak", "MB", "peak memory"))


def one_run(command, folder):
    """Wall and CPU seconds and peak resident megabytes (of the largest process) of one run, children included."""
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--out", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(f"bench_ab: {' '.join(command)} ended with exit code {code}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024 / 1e6}


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
    parser.add_argument("kvbits")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, help="the command's --threads")
    parser.add_argument("--raw", help="write every run as JSON here")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1, not {arguments.runs}")
    command = [arguments.kvbits, "ab"] + (["--threads", str(arguments.threads)] if arguments.threads else [])
    with tempfile.TemporaryDirectory() as folder:
        one_run(command, folder)  # warms the page cache
        runs = [one_run(command, folder) for _ in range(arguments.runs)]
    version = subprocess.run([arguments.kvbits, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    machine = {"processor": processor(), "processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
               "system": platform.platform(), "version": version, "command": " ".join(command)}
    print(f"{version}, `{machine['command']}` on {machine['processors']} x {machine['processor']}, load {machine['load']:.1f}")
    print(f"{arguments.runs} runs after one to warm up" + f"{'median':>14}{'least':>10}{'most':>10}")
    for key, unit, title in FIGURES:
        values = [run[key] for run in runs]
        figures = "".join(f"{value:10.2f}" if unit == "s" else f"{value:10.1f}"
                          for value in (statistics.median(values), min(values), max(values)))
        print(f"{title + ', ' + unit:30}{figures}")
    print(f"The reference figure is {REFERENCE_SECONDS} s: another implementation, on one thread.")
    if arguments.raw:
        pathlib.Path(arguments.raw).write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
