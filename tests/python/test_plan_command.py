"""kvbits plan on the committed trace: the budget is kept, more budget never does more damage, what is read back is what was
written, and what no plan should be is refused."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

KVBITS = os.environ["KVBITS"]
TRACE = pathlib.Path(__file__).resolve().parent.parent / "data" / "smollm2_trace.safetensors"
QUERIES = ("--queries", "24")


def kvbits(*arguments):
    return subprocess.run([KVBITS, *map(str, arguments)], text=True, check=False, capture_output=True)


def plan(*arguments):
    done = kvbits("plan", "--trace", TRACE, *QUERIES, *arguments, "--output", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Plan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plan = plan("--bits", 4.25)

    def test_the_budget_counts_scales_and_is_kept(self):
        for bits in (1.5, 3, 4.25, 6.3, 8.25):
            made = plan("--bits", bits)
            rows = sum(layer["n_kv_heads"] * (layer[side]["head_dim"] * layer[side]["bits"] // 8 + 2)
                       for layer in made["layers"] for side in "kv")
            self.assertEqual(made["bytes_per_token"], rows)
            self.assertLessEqual(made["bits_per_value"], bits)
            values = sum(layer["n_kv_heads"] * layer[side]["head_dim"] for layer in made["layers"] for side in "kv")
            self.assertAlmostEqual(made["bits_per_value"], 8 * rows / values, places=6)

    def test_more_budget_never_does_more_damage_and_beats_equal_widths(self):
        before = float("inf")
        for bits in (2.25, 3.25, 4.25, 5.25, 6.25):
            made = plan("--bits", bits)
            self.assertLessEqual(made["predicted"], before)
            self.assertLessEqual(made["predicted"], made["uniform"]["predicted"])
            self.assertLessEqual(made["uniform"]["bits_per_value"], bits)
            before = made["predicted"]

    def test_keys_are_keys(self):
        """At 4.25 bits the trace's keys want more than its values; measured alone, each side's error is its own."""
        bits = {side: sum(layer[side]["bits"] for layer in self.plan["layers"]) for side in "kv"}
        self.assertGreater(bits["k"], bits["v"])
        for layer in self.plan["layers"]:
            self.assertAlmostEqual(layer["predicted"], (layer["k_error"] ** 2 + layer["v_error"] ** 2) ** .5, places=6)
            self.assertLess(abs(layer["measured"] / layer["predicted"] - 1), .1)
        self.assertGreater(self.plan["rank_correlation"], .7)

    def test_half_bits_never_do_more_damage_and_are_read_back(self):
        for options in ((), ("--trellis", 16)):
            made, whole = (plan("--bits", 3.6, *options, *more) for more in (("--half-bits",), ()))
            bits = [layer[side]["bits"] for layer in made["layers"] for side in "kv"]
            self.assertTrue(any(b % 1 == .5 for b in bits), bits)
            self.assertTrue(all(b % 1 == 0 for layer in whole["layers"] for b in (layer["k"]["bits"], layer["v"]["bits"])))
            self.assertLess(made["predicted"], whole["predicted"])
            self.assertLessEqual(made["bits_per_value"], 3.6)
            rows = sum(layer["n_kv_heads"] * (layer[side]["head_dim"] * layer[side]["bits"] / 8 + 2)
                       for layer in made["layers"] for side in "kv")
            self.assertEqual(made["bytes_per_token"], rows)
            self.assertEqual(made["uniform"], whole["uniform"])
            for layer in made["layers"]:
                if not options:  # of two kinds of codes pairs are not measured
                    self.assertLess(abs(layer["measured"] / layer["predicted"] - 1), .1)
                for side in "kv":
                    has_trellis = 2 <= layer[side]["bits"] <= 6 and bool(options)
                    self.assertEqual(layer[side]["trellis_states"], 16 if has_trellis else 0)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "plan.json"
                path.write_text(json.dumps(made), encoding="utf-8")
                done = kvbits("info", "--plan", path, "--tokens", 640, "--json")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(json.loads(done.stdout)["bytes_per_token"], rows)
                width = next(b for b in bits if b % 1)
                self.assertRegex(kvbits("info", "--plan", path).stdout, rf"(?m)^ +\d+ .*\b{width}(t16)?\b")

    def test_an_error_is_met_with_the_fewest_bytes(self):
        made = plan("--error", .1)
        self.assertLessEqual(made["predicted"], .1)
        less = plan("--bytes-per-token", made["bytes_per_token"] - 1)
        self.assertGreater(less["predicted"], .1)

    def test_exact_tokens_are_paid_for_and_chosen_where_they_pay(self):
        """Long contexts spread their cost; in short ones they cost more than they save."""
        values = sum(layer["n_kv_heads"] * layer[side]["head_dim"] for layer in self.plan["layers"] for side in "kv")
        for tokens in (40, 100, 512, 8192, 1 << 30):
            made = plan("--bits", 4.25, "--tokens", tokens)
            exact = {(layer["exact_first"], layer["exact_last"]) for layer in made["layers"]}
            self.assertEqual(len(exact), 1)
            n = min(tokens, sum(*exact))
            self.assertEqual(made["tokens"], tokens)
            self.assertEqual(made["bytes"], n * 2 * values + tokens * made["bytes_per_token"])
            self.assertLessEqual(made["bytes"], 4.25 * values * tokens / 8)
            self.assertEqual(exact, {(4, 32)} if tokens > 500 else {(0, 0)} if tokens == 40 else exact)
            alone = plan("--bits", 4.25, "--tokens", tokens, "--exact", "none")
            self.assertLess(made["predicted"], (.5 if tokens > 8000 else 1.5) * alone["predicted"])
        # As the experiment measures them, by queries that see more than exact tokens.
        made = plan("--bits", 4.25, "--tokens", 8192, "--exact", "4+32")
        done = kvbits("ab", "--trace", TRACE, *QUERIES, "--exact-first", 4, "--exact-last", 32, "--queries-from", 36,
                      "--bits", "4", "--no-report", "--json", "-")
        for layer, measured in zip(made["layers"], json.loads(done.stdout)["layers"]):
            if layer["k"]["bits"] == 4:
                self.assertEqual(layer["k_error"], measured["pair_cells"][0]["k_only_mean"])
        self.assertIn(4, [layer["k"]["bits"] for layer in made["layers"]])
        few = plan("--error", .1, "--tokens", 8192)
        self.assertLessEqual(few["predicted"], .1)
        self.assertLess(few["bytes"], .8 * plan("--error", .1, "--tokens", 8192, "--exact", "none")["bytes"])

    def test_centered_keys_do_less_damage_and_their_means_are_in_the_plan(self):
        made = plan("--bits", 4.25, "--k-mean")
        self.assertLess(made["predicted"], .9 * self.plan["predicted"])
        self.assertEqual(made["bytes_per_token"], self.plan["bytes_per_token"])
        means = [numbers for layer in made["layers"] for numbers in layer["k_mean"]]
        self.assertEqual([(len(layer["k_mean"]), len(layer["k_mean"][0])) for layer in made["layers"]], [(3, 64)] * 4)
        self.assertGreater(max(abs(value) for numbers in means for value in numbers), 1)
        # As the experiment measures them, with the same mean and queries.
        tokens = 384 // 2
        done = kvbits("ab", "--trace", TRACE, *QUERIES, "--k-mean", tokens, "--queries-from", tokens, "--bits", "5",
                      "--no-report", "--json", "-")
        layers = json.loads(done.stdout)["layers"]
        for layer, measured in zip(made["layers"], layers):
            if layer["k"]["bits"] == 5:
                self.assertEqual(layer["k_error"], measured["pair_cells"][0]["k_only_mean"])
        self.assertIn(5, [layer["k"]["bits"] for layer in made["layers"]])

    def test_info_prices_the_exact_tokens_of_a_plan(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            made = plan("--bits", 4.25, "--tokens", 8192)
            path.write_text(json.dumps(made))
            priced = json.loads(kvbits("info", "--plan", path, "--tokens", 8192, "--json").stdout)
            self.assertEqual(priced["bytes"], made["bytes"])

    def test_o_is_short_for_output(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            done = kvbits("plan", "--trace", TRACE, *QUERIES, "--bits", 4.25, "-o", path)
            self.assertEqual((done.returncode, json.loads(path.read_text())), (0, self.plan))
        done = kvbits("plan", "--trace", TRACE, "--bits", 4.25, "-o")
        self.assertEqual((done.returncode, done.stderr), (2, "kvbits plan: -o needs a value; --help lists the legal ones\n"))
        done = kvbits("eval", "m", "-o", "x")
        self.assertIn("unknown or ambiguous option '-o'", done.stderr)

    def test_trellis_codes_do_less_damage_in_the_same_bytes(self):
        made = plan("--bits", 4.25, "--trellis", 16)
        self.assertLess(made["predicted"], .9 * self.plan["predicted"])
        self.assertEqual({layer["k"]["trellis_states"] for layer in made["layers"]}, {16})

    def test_threads_change_no_byte(self):
        runs = {json.dumps(plan("--bits", 4.25, "--threads", n)) for n in (1, 3)}
        self.assertEqual(len(runs), 1)

    def test_info_prices_what_plan_wrote(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            done = kvbits("plan", "--trace", TRACE, *QUERIES, "--bytes", 816 * 4096, "--tokens", 4096,
                          "--exact", "none", "--output", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Rank correlation", done.stdout)
            made = json.loads(path.read_text())
            self.assertEqual((made["tokens"], made["bytes"]), (4096, 816 * 4096))
            self.assertEqual({**made, "tokens": 0, "bytes": 0}, self.plan)
            priced = json.loads(kvbits("info", "--plan", path, "--tokens", 4096, "--json").stdout)
            self.assertEqual(priced["bytes_per_token"], self.plan["bytes_per_token"])
            self.assertEqual(priced["bytes"], self.plan["bytes_per_token"] * 4096)
            self.assertIn("4.25 bits per value", kvbits("info", "--plan", path, "--tokens", 4096).stdout)
            refused = kvbits("info", "--plan", path, "--layers", 3)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("--plan says what the layers are", refused.stderr)

    def test_limits_that_make_no_sense_are_refused(self):
        for arguments, sentence in (((), "there is no limit"), (("--bits", 4, "--error", .1), "more than one limit"),
                                    (("--bits", 0), "--bits is 0; legal: above 0"), (("--bits", 1), "legal: 240 and more"),
                                    (("--bytes", 100), "--tokens is missing"),
                                    (("--bits", 4, "--exact", "4+0"), "--tokens is missing"),
                                    (("--bits", 4, "--tokens", 0), "--tokens is '0'; legal: a whole number from 1 to 2147483647"),
                                    (("--bits", 4, "--tokens", 9, "--exact", "4"), "--exact is '4'; legal: none, or"),
                                    (("--bits", 4, "--tokens", 9, "--exact", "0+999"), "cannot be judged by a trace of"),
                                    (("--kl", .1), "for MODEL.gguf, not for --trace"),
                                    (("--bits", 4, "--probe", "4/3"), "for MODEL.gguf, not for --trace"), (("--bits", 4, "--trellis", 7), "legal: 0 (scalar")):
            done = kvbits("plan", "--trace", TRACE, *QUERIES, *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(sentence, done.stderr)

    def test_what_is_no_plan_is_refused_with_its_place(self):
        def changed(key, value, where=("layers", 1)):
            document = json.loads(json.dumps(self.plan))
            target = document
            for step in where:
                target = target[step]
            target[key] = value
            return json.dumps(document)
        cases = (("", "not valid JSON"), ("[]", "no plan"), ("{\"kvbits_plan\": 2}", "\"kvbits_plan\" must be a whole number from 1 to 1"),
                 (changed("layers", [], ()), "an array of 1 to 1024 objects"), (changed("n_kv_heads", 0), "\"n_kv_heads\" of layers[1]"),
                 (changed("bits", 9, ("layers", 2, "k")), "layers[2]"),
                 *((changed("bits", b, ("layers", 2, "k")), "must be a number from 1 to 8 in steps of 0.5, or 16")
                   for b in (0, .5, 4.25, 8.5, 16.5, 17, -4, 1e300, None)), (changed("bits", "4", ("layers", 2, "v")), "layers[2] (values)"),
                 (changed("trellis_states", 12, ("layers", 0, "k")), "trellis_states 12"),
                 (changed("rotation", "spin", ("layers", 3, "v")), "none|hadamard|signed"),
                 (changed("head_dim", 63, ("layers", 0, "k")), "layers[0]"), (changed("sign_seed", "7", ("layers", 0, "k")), "hexadecimal"),
                 (changed("measured", -1), "from 0 on"), (changed("tokens", -1, ()), "\"tokens\" must be a whole number"),
                 (changed("k_mean", [[0] * 64] * 2), "\"k_mean\" of layers[1] must be null, or an array"),
                 (changed("k_mean", [[0] * 63] * 3), "arrays of head_dim numbers"),
                 (changed("k_mean", [[0] * 63 + [1e9]] * 3), "numbers up to 65504"),
                 (changed("predicted_kl", "x", ("uniform",)), "\"predicted_kl\" must be"), (json.dumps(self.plan)[:-40], "not valid JSON"))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            for text, sentence in cases:
                path.write_text(text)
                done = kvbits("info", "--plan", path)
                self.assertEqual((done.returncode, done.stdout), (2, ""), sentence)
                self.assertIn(sentence, done.stderr)
            self.assertEqual(kvbits("info", "--plan", path.with_name("none.json")).returncode, 3)


if __name__ == "__main__":
    unittest.main()
