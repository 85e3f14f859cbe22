#!/usr/bin/env python3
"""Plants bugs that this field has already made and sees the test that names each one fail.

    run.py [--list] [--jobs N] [NAME...]        NAME: a part of a patch's file name

Every NN-name.patch here opens with lines that say what it breaks:
    # test: test_rotate          the ctest test that must fail
    # target: test_rotate        what to build for it (default: the test, or kvbits-cli when that is no unit test)
    # bug: signs on K but not on Q
    # needs: llama.cpp           left out, and shown as such, where ctest skips the test for want of it;
    # needs: avx512              or where the processor has no AVX-512: no test can run what the patch breaks
A mutant counts as caught only when its patch applies exactly, the code compiles, the test passed before and fails
after. Works in a copy of the tree under build-mutants/, which later runs build upon. Only the standard library.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "build-mutants"
TREE = WORK / "tree"
BUILD = WORK / "build"
# git must not take the copy for a part of the repository around it.
# KVB_FAILFAST: a test of many cases may end at the first that fails; that is all a mutant is asked for.
ENVIRONMENT = dict(os.environ, GIT_CEILING_DIRECTORIES=str(WORK), KVB_FAILFAST="1")
TEST_SECONDS = 300  # a mutant that hangs its test is caught


class Broken(Exception):
    pass


class Mutant:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        header = re.split(r"^(?:diff |--- )", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.M)[0]
        fields = dict(re.findall(r"^# (test|target|bug|needs): (.+?)\s*$", header, flags=re.M))
        if "test" not in fields or "bug" not in fields:
            raise Broken(f"{path.name}: its header needs '# test: NAME' and '# bug: TEXT'")
        self.test, self.bug = fields["test"], fields["bug"]
        self.needs = fields.get("needs")
        if self.needs not in (None, "llama.cpp", "avx512"):
            raise Broken(f"{path.name}: it needs '{self.needs}'; legal: llama.cpp, avx512")
        is_unit_test = (ROOT / "tests" / "unit" / f"{self.test}.c").exists()
        self.target = fields.get("target", self.test if is_unit_test else "kvbits-cli")


def run(command, **options):
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env=ENVIRONMENT, check=False, **options)


def must(command, what):
    done = run(command)
    if done.returncode != 0:
        raise Broken(f"{what}:\n{done.stdout[-4000:]}")


def copy_tree():
    """Makes TREE equal to the working tree, touching only files that differ so that builds stay incremental."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], check=True,
                             capture_output=True).stdout.decode()
    wanted = {name for name in listing.split("\0") if name and (ROOT / name).is_file()}
    present = {str(path.relative_to(TREE)) for path in TREE.rglob("*") if path.is_file()} if TREE.exists() else set()
    for name in present - wanted:
        (TREE / name).unlink()
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        shutil.copymode(source, target)


def build(targets, jobs, what):
    must(["cmake", "--build", BUILD, "--parallel", jobs, "--target", *targets], what)


def lacks_avx512():
    """Not by the library's word, which a mutant may bend."""
    try:
        flags = set(pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        flags = set()
    return not {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"} <= flags


def is_skipped(name):
    """Does ctest skip the test here?"""
    done = run(["ctest", "--test-dir", BUILD, "--no-tests=error", "--timeout", TEST_SECONDS, "-R", f"^{re.escape(name)}$"])
    return "***Skipped" in done.stdout


def test(name):
    """Does the ctest test pass? A test that ctest does not know is an error."""
    done = run(["ctest", "--test-dir", BUILD, "--no-tests=error", "--timeout", TEST_SECONDS, "-R", f"^{re.escape(name)}$"])
    if "No tests were found" in done.stdout or "Not Run" in done.stdout:
        raise Broken(f"there is no test {name}, or its program was not built:\n{done.stdout[-1000:]}")
    return done.returncode == 0


def patch(mutant, *options):
    must(["git", "-C", TREE, "apply", "--whitespace=nowarn", *options, mutant.path], f"{mutant.path.name} does not apply")


def plant(mutant, jobs):
    """Applies, builds, tests, takes back. True when the test failed, as it should."""
    patch(mutant)
    try:
        build([mutant.target], jobs, f"{mutant.path.name} does not compile")
        return not test(mutant.test)
    finally:
        patch(mutant, "--reverse")


def report(verdict, mutant, seconds, note=""):
    print(f"{verdict:9}{mutant.name:44}{mutant.test:32}{seconds:6.1f} s {note}", flush=True)


def run_all(mutants, jobs):
    copy_tree()
    must(["cmake", "-S", TREE, "-B", BUILD, "-DCMAKE_BUILD_TYPE=Debug", "-DKVB_CUDA=OFF",
          *(["-G", "Ninja"] if shutil.which("ninja") and not (BUILD / "CMakeCache.txt").exists() else [])], "cmake failed")
    start = time.monotonic()
    build(sorted({mutant.target for mutant in mutants}), jobs, "the tree does not build without any mutant")
    failing = [name for name in sorted({mutant.test for mutant in mutants}) if not test(name)]
    if failing:
        raise Broken(f"these tests fail without any mutant: {', '.join(failing)}")
    print(f"without mutants all named tests pass ({time.monotonic() - start:.0f} s)", flush=True)
    missed = 0
    without = {name for name in {mutant.test for mutant in mutants if mutant.needs == "llama.cpp"} if is_skipped(name)}
    left_out = [mutant for mutant in mutants if mutant.needs and
                (lacks_avx512() if mutant.needs == "avx512" else mutant.test in without)]
    for mutant in left_out:
        report("left out", mutant, 0, f"for want of {mutant.needs}")
    mutants = [mutant for mutant in mutants if mutant not in left_out]
    for mutant in mutants:
        start = time.monotonic()
        try:
            caught = plant(mutant, jobs)
            report("caught" if caught else "SURVIVED", mutant, time.monotonic() - start,
                   "" if caught else f"no test noticed: {mutant.bug}")
        except Broken as error:
            caught = False
            report("BROKEN", mutant, time.monotonic() - start, str(error))
        missed += not caught
    print(f"mutants: {len(mutants) - missed} caught, {missed} not")
    return 1 if missed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the mutants and the tests that catch them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="parallel compiler runs")
    arguments = parser.parse_args()
    try:
        mutants = [Mutant(path) for path in sorted(HERE.glob("*.patch"))
                   if not arguments.names or any(name in path.stem for name in arguments.names)]
        if not mutants:
            raise Broken("no patch fits" if arguments.names else "there are no patches")
        if arguments.list:
            for mutant in mutants:
                print(f"{mutant.name:44}{mutant.test:32}{mutant.bug}")
            return 0
        return run_all(mutants, arguments.jobs)
    except Broken as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
