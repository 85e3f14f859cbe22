"""What `kvbits bench` and `kvbits info` make of GPUs of several ages, on one that pretends (pretended_runtime.c)."""
import json
import os
import pathlib
import re
import subprocess
import unittest

KVBITS = os.environ["KVBITS"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FEW = ("--kv-len", "200", "--batch", "3", "--memory", "4", "--rounds", "3", "--prefill", "8,256")


def kvbits(*arguments, **environment):
    environment = {f"KVB_PRETENDED_{name.upper()}": value for name, value in environment.items()}
    return subprocess.run([KVBITS, *arguments], text=True, check=False, capture_output=True, env={**os.environ, **environment})


def rows(*arguments, **environment):
    done = kvbits("bench", "--backend", "cuda:0", *FEW, *arguments, "--json", "-", **environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()][1:]


def attended(all_rows):
    """Pairs of the plain rows, and the kernels that serve them."""
    plain = [row for row in all_rows if row["work"] == "attend" and not row.get("variant") and row["precision"] == "fast"]
    return {(row["k"], row["v"]) for row in plain}, {row["kernel"] for row in plain if (row["k"], row["v"]) != ("4", "7")}


class Ages(unittest.TestCase):
    def test_before_8_0_it_is_refused(self):
        done = kvbits("bench", "--backend", "cuda:0", *FEW, capability="7.5")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("has compute capability 7.5, kvbits needs 8.0", done.stderr)
        self.assertIn("7.5 (too old: kvbits needs 8.0)", kvbits("info", capability="7.5").stdout)

    def test_before_9_0_the_general_kernel_serves_all(self):
        pairs, kernels = attended(rows("--shapes", "B", capability="8.6"))
        self.assertEqual(kernels, {"general"})
        self.assertEqual(pairs, {("8", "8"), ("6", "6"), ("5", "5"), ("6", "4"), ("4", "4"), ("3", "3"), ("2", "2"), ("4", "7")})
        self.assertIn("8.6 (general kernels only)", kvbits("info", capability="8.6").stdout)

    @unittest.skipIf(os.environ.get("KVB_NO_TUNED") == "1", "this build has no tuned kernels")
    def test_from_9_0_on_every_tuned_pair_is_measured(self):
        listed = (ROOT / "src" / "cuda" / "attend_instances.def").read_text()
        for capability in ("9.0", "10.0"):
            for shape, dim in (("A", 256), ("B", 128), ("C", 64)):
                wanted = {tuple(f"{bits[1:]}t16" if bits[0] == "T" else bits for bits in pair)
                          for pair in re.findall(rf"^KVB_ATTEND\((\w+), (\w+), {dim}, {dim}\)", listed, re.M)}
                pairs, kernels = attended(rows("--shapes", shape, "--only", "attend", capability=capability))
                self.assertEqual((pairs, kernels), (wanted | {("4", "7")}, {"tuned"}))

    def test_half_bits_are_the_general_kernels(self):
        for options, wanted in ((("--bits", "6/4.5,3.5"), {("6", "4.5"), ("3.5", "3.5")}),
                                (("--bits", "5.5/2.5", "--trellis", "16"), {("5.5t16", "2.5t16")})):
            measured = rows("--shapes", "B", *options, capability="9.0")
            pairs, kernels = attended(measured)
            self.assertEqual((pairs - {("4", "7")}, kernels), (wanted, {"general"}))
            self.assertEqual({(row["k"], row["v"]) for row in measured if row["work"] == "append"}, wanted)


class Errors(unittest.TestCase):
    def test_too_little_memory_has_a_sentence(self):
        done = kvbits("bench", "--backend", "cuda:0", *FEW, "--kv-len", "100000", memory=str(300 << 20))
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertRegex(done.stderr, r"cuda:0 has no memory for \d+ bytes more; shorter --kv-len")

    def test_a_device_past_the_last_is_bad_input(self):
        done = kvbits("bench", "--backend", "cuda:1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("devices are cuda:0 to cuda:0", done.stderr)


if __name__ == "__main__":
    unittest.main()
