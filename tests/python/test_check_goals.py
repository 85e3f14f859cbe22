#!/usr/bin/env python3
"""tools/check_goals.py: passes, misses and exit codes on results made here."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parent.parent.parent / "tools" / "check_goals.py"
ENGINE = {"q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5, "q4_0": 4.5, "iq4_nl": 4.5}


def scheme(name, kind, bits, mean, p999):
    return {"name": name, "kind": kind, "bits_per_value": bits, "bits_in_window": bits,
            "kl": {"mean": {"value": mean}, "p999": {"value": p999}}}


def result(ours, engine=ENGINE):
    """The engine's caches have a KL of 2^-bits; ours: name -> (bits, mean, p999)."""
    schemes = [scheme(name, "kvbits", *figures) for name, figures in ours.items()]
    schemes += [scheme(name, "engine", bits, 2.0 ** -bits, 2.0 ** -bits) for name, bits in engine.items()]
    return {"kvbits_eval": 1, "model": {"file": "m.gguf"}, "tokens": 1024, "text": "t", "schemes": schemes, "comparisons": []}


GOOD = {"a": (4.25, .01, .01), "b": (5.25, .005, .005), "c": (6.25, .004, .004), "d": (8.25, .001, .001)}


class Goals(unittest.TestCase):
    def check(self, *documents):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for i, document in enumerate(documents):
                paths.append(pathlib.Path(folder) / f"{i}.json")
                paths[-1].write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
            return subprocess.run([sys.executable, "-B", TOOL, *paths], capture_output=True, text=True, check=False)

    def test_all_met(self):
        done = self.check(result(GOOD))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("| pass |"), 7)
        self.assertNotIn("miss", done.stdout)

    def test_a_worse_tail_is_a_miss(self):
        done = self.check(result(GOOD | {"a": (4.25, .01, .04)}))  # 2^-4.5 is .0442, 2^-5 .0313: only q4_1 is better
        self.assertEqual(done.returncode, 1)
        self.assertEqual((done.stdout.count("| pass |"), done.stdout.count("| miss |")), (6, 1))

    def test_more_bits_than_the_goal_do_not_count(self):
        done = self.check(result(GOOD | {"a": (4.26, .01, .01)}))
        self.assertEqual(done.returncode, 1)
        self.assertIn("not measured", done.stdout)

    def test_fewer_bits_do(self):
        done = self.check(result({"a": (3.25, .001, .001)}))
        self.assertEqual(done.returncode, 0)

    def test_half_is_half(self):
        done = self.check(result({"a": (4.25, .009, .009), "d": (8.25, .001, .001)}))  # 2^-6 is .0156
        self.assertEqual((done.returncode, done.stdout.count("| miss |")), (1, 1))

    def test_a_cache_that_was_not_measured_is_a_miss(self):
        done = self.check(result(GOOD, {name: bits for name, bits in ENGINE.items() if name != "q8_0"}))
        self.assertEqual(done.returncode, 1)

    def test_other_files_are_passed_over(self):
        done = self.check(result(GOOD), "{}", "[1]", "no JSON")
        self.assertEqual(done.returncode, 0)
        done = self.check("{}")
        self.assertEqual((done.returncode, done.stdout), (2, ""))


if __name__ == "__main__":
    unittest.main()
