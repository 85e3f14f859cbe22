"""install_packages.sh leaves a complete machine alone, names what is missing first, and never needs root to say so."""
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "install_packages.sh"
TOOLS = ("bash", "env", "sort", "dirname", "rm", "true")
PROVIDED = ("cmake", "make", "cc", "gnuplot", "python3")


class InstallPackages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name)
        self.log = self.bin / "log"
        for tool in TOOLS:
            os.symlink(shutil.which(tool), self.bin / tool)
        for name in PROVIDED:
            self.program(name, "exit 0")
        self.program("pkg-config", "exit 0")
        self.program("apt-get", f'echo "$@" >> {self.log}; [ "$1" = update ] || [ ! -e {self.bin}/stale ] || '
                     f'{{ rm {self.bin}/stale; exit 100; }}')
        self.uid(1000)

    def program(self, name, text):
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def uid(self, uid):
        self.program("id", f"echo {uid}")

    def install(self, group="build"):
        done = subprocess.run([self.bin / "bash", SCRIPT, group], env={"PATH": str(self.bin)}, capture_output=True,
                              text=True, check=False)
        self.output = done.stdout + done.stderr
        self.calls = self.log.read_text().splitlines() if self.log.exists() else []
        return done.returncode

    def test_a_complete_machine_is_left_alone(self):
        self.assertEqual(self.install(), 0, self.output)
        self.assertEqual((self.output, self.calls), ("", []))

    def test_root_installs_what_is_missing_and_names_it_first(self):
        self.uid(0)
        (self.bin / "gnuplot").unlink()
        self.program("pkg-config", '[ "$2" != sleef ]')
        self.assertEqual(self.install(), 0, self.output)
        self.assertEqual(self.calls, ["install -y --no-install-recommends gnuplot-nox libsleef-dev"])
        self.assertTrue(self.output.startswith("kvbits: missing packages: gnuplot-nox libsleef-dev\n"), self.output)

    def test_stale_package_lists_are_updated_once(self):
        self.uid(0)
        (self.bin / "stale").touch()
        (self.bin / "cmake").unlink()
        self.assertEqual(self.install(), 0, self.output)
        line = "install -y --no-install-recommends cmake"
        self.assertEqual(self.calls, [line, "update", line])

    def test_cross_needs_a_compiler_and_an_emulator_on_top(self):
        for name in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
            self.program(name, "exit 0")
        self.uid(0)
        self.assertEqual(self.install("cross"), 0, self.output)
        (self.bin / "qemu-aarch64").unlink()
        self.assertEqual(self.install("cross"), 0, self.output)
        self.assertIn("qemu-user", self.calls[-1].split())
        self.assertEqual(self.install("build"), 0, self.output)
        self.assertEqual(self.output, "")
        self.program("qemu-aarch64-static", "exit 0")
        (self.bin / "aarch64-linux-gnu-gcc").unlink()
        self.assertEqual(self.install("cross"), 0, self.output)
        self.assertIn("gcc-aarch64-linux-gnu", self.calls[-1].split())
        self.assertNotIn("qemu-user", self.calls[-1].split())

    def test_without_root_the_line_that_does_it_is_printed(self):
        (self.bin / "cmake").unlink()
        (self.bin / "pkg-config").unlink()
        self.assertEqual(self.install(), 1)
        self.assertEqual(self.calls, [])
        self.assertIn("sudo apt-get install -y --no-install-recommends cmake libcmocka-dev libjansson-dev libsleef-dev "
                      "pkg-config\n", self.output)

    def test_a_sudo_that_asks_for_a_password_is_not_used(self):
        (self.bin / "cmake").unlink()
        self.program("sudo", "exit 1")
        self.assertEqual(self.install(), 1)
        self.assertEqual(self.calls, [])
        self.program("sudo", 'shift; exec "$@"')
        self.assertEqual(self.install(), 0, self.output)
        self.assertEqual(self.calls, ["install -y --no-install-recommends cmake"])

    def test_without_apt_the_packages_are_named(self):
        (self.bin / "apt-get").unlink()
        (self.bin / "cmake").unlink()
        self.assertEqual(self.install(), 1)
        self.assertIn("cmake", self.output)


if __name__ == "__main__":
    unittest.main()
