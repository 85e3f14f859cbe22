#!/usr/bin/env python3
"""`kvbits eval` and `kvbits record` on small models with random weights, one of each architecture: the self-check holds,
figures are as they must be, a trace is what was computed, and what cannot be evaluated is refused with a sentence.
Without llama.cpp: that both say how to get it; the rest is then skipped, and ctest says so."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import random_model  # noqa: E402

KVBITS = os.environ["KVBITS"]
TEXT = ROOT / "tests" / "data" / "trace_text.txt"
SKIPPED = 77


def kvbits(*arguments):
    return subprocess.run([KVBITS, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False)


HAS_ENGINE = "built without llama.cpp" not in kvbits("eval", "/no/model.gguf", "--text", TEXT).stderr


class WithoutEngine(unittest.TestCase):
    @unittest.skipIf(HAS_ENGINE, "this build has llama.cpp")
    def test_both_commands_say_how_to_get_it(self):
        for arguments in (("eval", "m.gguf", "--text", TEXT), ("plan", "m.gguf", "--text", TEXT, "--bits", 4), ("record", "m.gguf", "--text", TEXT, "--output", "t")):
            done = kvbits(*arguments)
            self.assertEqual(done.returncode, 3)
            self.assertRegex(done.stderr, r"^kvbits \w+: this kvbits was built without llama\.cpp.*KVB_LLAMA=ON")


class Options(unittest.TestCase):
    def test_sentences_name_value_and_legal_ones(self):
        for arguments, sentence in (
                (("eval",), "which MODEL.gguf?"),
                (("eval", "m.gguf"), "which text?"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "9/4"), "--schemes is '9/4'; legal: .*1-8 in steps of 0.5 or 16"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "8.5/4"), "--schemes is '8.5/4'"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "4.25/4"), "--schemes is '4.25/4'"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "6.5/6.5t16"), "--schemes is '6.5/6.5t16'"),
                (("eval", "m.gguf", "--text", "t", "--sensitivity", "4.5/4"), "--sensitivity is '4.5/4'; legal: "),
                (("eval", "m.gguf", "--text", "t", "--schemes", "4/4,"), "--schemes is '4/4,'"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "4/4+1+2+3"), "--schemes is"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "4/4t7"), "--schemes is '4/4t7'; legal: .*64 or 256 states"),
                (("eval", "m.gguf", "--text", "t", "--schemes", "8/7t64"), "--schemes is '8/7t64'"),
                (("eval", "m.gguf", "--text", "t", "--k-bits", "4"), "--k-bits and --v-bits come together"),
                (("eval", "m.gguf", "--text", "t", "--k-bits", "9", "--v-bits", "4"), "--k-bits is '9'; legal: 1 to 8 in steps of 0.5"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--needle-depths", "0,101"), "--needle-depths is '0,101'; legal: .*0 to 100"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--needle-depths", "50,50"), "--needle-depths is '50,50'; .*rising order"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--needle-depths", "-1"), "--needle-depths is '-1'; legal: "),
                (("eval", "m.gguf", "--text", "t", "--needle", "--needle-count", "0"), "--needle-count is '0'; legal: .* from 1 to 100"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--needle-tokens", "x"), "--needle-tokens is 'x'"),
                (("eval", "m.gguf", "--text", "t", "--needle-count", "2"), "come with --needle"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--window", "64"), "--window and .* no use with --needle; legal: --needle-tokens"),
                (("eval", "m.gguf", "--text", "t", "--needle", "--sensitivity", "4/4"), "--sensitivity have no use with --needle"),
                (("eval", "m.gguf", "--text", "t", "--window", "8"), "--window is '8'; legal: .* from 16"),
                (("record", "m.gguf", "--text", "t"), "--output FILE is missing"),
                (("record", "m.gguf", "--text", "t", "--output", "o", "--layers", "2,1"), "rising order")):
            done = kvbits(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertRegex(done.stderr, r"^kvbits \w+: [^\n]*" + sentence + r"[^\n]*\n$")

    def test_help(self):
        for command in ("eval", "record"):
            done = kvbits(command, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("MODEL.gguf", done.stdout)


@unittest.skipUnless(HAS_ENGINE, "without llama.cpp")
class Engine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.models = {}
        for architecture in random_model.ARCHITECTURES:
            cls.models[architecture] = cls.path / f"{architecture}.gguf"
            random_model.write(cls.models[architecture], architecture)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def evaluate(self, architecture, *arguments, tokens=384, window=96):
        out = self.path / "out"
        done = kvbits("eval", self.models[architecture], "--text", TEXT, "--tokens", tokens, "--window", window, "--out",
                      out, "--threads", 1, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, (out / "result.md").read_text(encoding="utf-8"))
        return json.loads((out / "result.json").read_text(encoding="utf-8"))

    def test_every_architecture_passes_the_self_check(self):
        for architecture in random_model.ARCHITECTURES:
            with self.subTest(architecture):
                result = self.evaluate(architecture, "--schemes", "8/8,3/3", "--engine", "none")
                check = result["self_check"]
                self.assertEqual(result["model"]["architecture"], architecture)
                self.assertLess(check["recomputed_nrmse"], 1e-6)
                self.assertLess(check["halves_nrmse"], 1e-3)
                self.assertLess(check["halves_kl_mean"], 1e-5)
                self.assertEqual(check["largest_repetition_difference"], 0)
                fine, coarse = (scheme["kl"]["mean"]["value"] for scheme in result["schemes"])
                self.assertLess(100 * fine, coarse)

    def test_figures_are_those_of_the_widths(self):
        result = self.evaluate("llama", "--schemes", "16/16,8/8,6/6,4/4,2/2,4/4+4,4/4+4+16")
        schemes = {scheme["name"]: scheme for scheme in result["schemes"]}
        means = [schemes[name]["kl"]["mean"]["value"] for name in ("16/16", "8/8", "6/6", "4/4", "2/2")]
        self.assertEqual(means, sorted(means))
        for name, bits in (("4/4", 4.5), ("8/8", 8.5), ("q8_0", 8.5), ("q5_1", 6), ("q4_0", 4.5), ("iq4_nl", 4.5)):
            self.assertEqual(schemes[name]["bits_per_value"], bits)  # head_dim 32: a half for 32 values
        # 96 tokens in two pages of 64; exact tokens take their place in a page, too
        self.assertAlmostEqual(schemes["4/4"]["bits_in_window"], 4.5 * 128 / 96, places=4)
        self.assertAlmostEqual(schemes["4/4+4"]["bits_in_window"], (4.5 * 128 + 16 * 4) / 96, places=4)
        self.assertLess(schemes["4/4+4+16"]["kl"]["mean"]["value"], schemes["4/4"]["kl"]["mean"]["value"])
        for scheme in result["schemes"]:
            kl = scheme["kl"]
            order = [kl["median"]["value"], kl["p99"]["value"], kl["p999"]["value"], kl["largest"]]
            self.assertEqual(order, sorted(order))
            self.assertLessEqual(kl["mean"]["low"], kl["mean"]["value"])
            self.assertGreaterEqual(kl["mean"]["high"], kl["mean"]["value"])
            self.assertEqual(len(scheme["layers"]), random_model.LAYERS if scheme["kind"] == "kvbits" else 0)
            weighted = sum(part["kl_mean"]["value"] * (part["to"] + 1 - part["from"]) for part in scheme["positions"]) / 96
            self.assertAlmostEqual(weighted / kl["mean"]["value"], 1, places=4)
        self.assertEqual(result["tokens"], 384)

    def test_half_bits_are_between_whole_ones(self):
        result = self.evaluate("llama", "--schemes", "5/5,4.5/4.5,4/4,6.5/4.5t16", "--engine", "none")
        schemes = {scheme["name"]: scheme for scheme in result["schemes"]}
        self.assertEqual([schemes[name]["bits_per_value"] for name in ("5/5", "4.5/4.5", "4/4", "6.5/4.5t16")],
                         [5.5, 5, 4.5, 6])
        means = [schemes[name]["kl"]["mean"]["value"] for name in ("5/5", "4.5/4.5", "4/4")]
        self.assertEqual(means, sorted(means))

    def test_trellis_codes_and_searched_scales_are_better_at_the_same_bytes(self):
        result = self.evaluate("llama", "--schemes", "3/3,3/3t16,3/3t16s,8/3t16s+2", "--engine", "none")
        plain, trellis, searched, mixed = result["schemes"]
        self.assertEqual([mixed["name"], searched["name"]], ["8/3t16s+2", "3/3t16s"])
        self.assertEqual(plain["bits_in_window"], searched["bits_in_window"])
        self.assertLess(trellis["kl"]["mean"]["value"], .9 * plain["kl"]["mean"]["value"])
        self.assertLess(searched["kl"]["mean"]["value"], .9 * plain["kl"]["mean"]["value"])

    def test_the_same_run_gives_the_same_json(self):
        first = self.evaluate("qwen3", "--schemes", "4/4", "--engine", "q4_0", tokens=192)
        self.assertEqual(first, self.evaluate("qwen3", "--schemes", "4/4", "--engine", "q4_0", tokens=192))

    def test_k_bits_and_v_bits_are_a_scheme(self):
        result = self.evaluate("llama", "--k-bits", 5, "--v-bits", 3, "--exact-first", 2, "--engine", "none", tokens=96)
        self.assertEqual([scheme["name"] for scheme in result["schemes"]], ["5/3+2"])
        self.assertIsNone(result["schemes"][0]["kl"]["mean"]["low"])  # one window has no interval

    def needles(self, *arguments, architecture="llama"):
        out = self.path / "needles"
        done = kvbits("eval", self.models[architecture], "--text", TEXT, "--needle", "--out", out, "--threads", 1, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, (out / "needle.md").read_text(encoding="utf-8"))
        self.assertFalse((out / "result.json").exists())
        return json.loads((out / "needle.json").read_text(encoding="utf-8"))

    def test_needles_of_halves_are_the_references_and_of_one_bit_are_not(self):
        result = self.needles("--needle-tokens", 700, "--needle-depths", "0,100", "--needle-count", 2, "--schemes",
                              "16/16,4/4,1/1", "--engine", "q8_0")
        halves, four, one, _ = result["schemes"]
        self.assertLess(halves["kl_mean"]["value"], 1e-5)
        self.assertLess(10 * four["kl_mean"]["value"], one["kl_mean"]["value"])
        self.assertLess(1000 * halves["kl_mean"]["value"], four["kl_mean"]["value"])
        self.assertEqual(result["tokens"], 700)
        self.assertLess(result["self_check"]["halves_nrmse"], 1e-3)
        self.assertEqual([row["depth"] for row in four["depths"]], [0, 100])
        needles = result["needles"]
        self.assertEqual([needle["depth"] for needle in needles], [0, 0, 100, 100])
        self.assertEqual(len({needle["answer"] for needle in needles}), 4)
        for needle in needles:
            self.assertEqual(len(needle["log_probability"]), 5)
            # the same tokens count on both sides, so that exact enough a cache makes them as probable
            self.assertAlmostEqual(needle["log_probability"][0], needle["log_probability"][1], delta=.05)
            self.assertNotAlmostEqual(needle["log_probability"][0], needle["log_probability"][3], delta=.5)
            self.assertEqual(needle["position"] == 1, needle["depth"] == 0)
        tokens = [needle["answer_tokens"] for needle in needles]
        mean = sum(needle["kl_mean"][1] * n for needle, n in zip(needles, tokens)) / sum(tokens)
        self.assertAlmostEqual(mean / four["kl_mean"]["value"], 1, places=4)
        logs = [needle["log_probability"][2] for needle in needles]
        self.assertAlmostEqual(4 * four["log_probability"]["value"] / sum(logs), 1, places=4)
        self.assertLess(four["kl_mean"]["low"], four["kl_mean"]["high"])

    def test_every_architecture_has_needles(self):
        for architecture in random_model.ARCHITECTURES:  # in two batches, of which the first gives no logits
            with self.subTest(architecture):
                result = self.needles("--needle-tokens", 530, "--needle-depths", "0", "--needle-count", 1, "--schemes", "16/16",
                                      "--engine", "none", architecture=architecture)
                self.assertLess(result["schemes"][0]["kl_mean"]["value"], 1e-5)
                self.assertEqual(result["self_check"]["largest_repetition_difference"], 0)

    def test_needles_fill_what_the_model_was_trained_for_or_the_text_fills(self):
        few = ("--needle-depths", "50", "--needle-count", 1, "--engine", "none", "--schemes", "8/8")
        result = self.needles(*few, "--tokens", 600)
        self.assertEqual(result["tokens"], 600)
        self.assertIsNone(result["schemes"][0]["kl_mean"]["low"])  # one needle has no interval
        self.assertEqual(self.needles(*few)["tokens"], random_model.CONTEXT)
        for arguments, sentence in ((("--needle-tokens", 4096), "trained for up to 2048"),
                                    (("--needle-tokens", 600, "--tokens", 500), "needles in 600 tokens; the text has 500"),
                                    (("--needle-tokens", 64), "64 tokens are too few for a needle and its question; legal: from ")):
            done = kvbits("eval", self.models["llama"], "--text", TEXT, "--needle", "--engine", "none", *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(sentence, done.stderr)

    def test_bad_files_are_refused_in_one_sentence(self):
        other = self.path / "other.gguf"
        random_model.write(other, "llama", known_as="starcoder2")
        cut = self.path / "cut.gguf"
        cut.write_bytes(self.models["llama"].read_bytes()[:200000])
        noise = self.path / "noise.gguf"
        noise.write_bytes(b"GGUF" + bytes(range(256)) * 20)
        empty = self.path / "empty.txt"
        empty.write_bytes(b"")
        for model, text, code, sentence in (
                (other, TEXT, (2, 3), r"knows llama, qwen2, qwen3, gemma2, gemma3, phi3|could not be loaded"),
                (cut, TEXT, (2,), "could not be loaded by llama.cpp"),
                (noise, TEXT, (2,), "could not be loaded by llama.cpp"),
                (TEXT, TEXT, (2,), "is no GGUF file"),
                (self.path / "none.gguf", TEXT, (3,), "could not be opened"),
                (self.models["llama"], empty, (2,), "is empty"),
                (self.models["llama"], self.path / "none.txt", (3,), "No such file")):
            done = kvbits("eval", model, "--text", text, "--window", 96)
            self.assertIn(done.returncode, code, done.stderr)
            self.assertRegex(done.stderr, r"^kvbits eval: [^\n]*(" + sentence + r")[^\n]*\n$")
            self.assertEqual(done.stdout, "")

    def test_sizes_beyond_the_model_or_the_text_are_refused(self):
        for arguments, sentence in ((("--window", 4096), "trained for up to 2048"), (("--tokens", 50), "one full window"),
                                    (("--window", 96, "--engine", "q9"), "--engine is 'q9'; legal: none, or f16")):
            done = kvbits("eval", self.models["llama"], "--text", TEXT, *arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(sentence, done.stderr)

    def test_a_recorded_trace_runs_the_experiment(self):
        trace = self.path / "trace.safetensors"
        done = kvbits("record", self.models["gemma2"], "--text", TEXT, "--tokens", 64, "--output", trace)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        size = int(re.search(r"(\d+) bytes and a header", done.stdout).group(1))
        data = trace.read_bytes()
        header = int.from_bytes(data[:8], "little")
        self.assertEqual(len(data), 8 + header + size)
        about = json.loads(data[8:8 + header])
        heads, kv_heads, dim = random_model.HEADS, random_model.KV_HEADS, random_model.HEAD_DIM
        self.assertEqual(about["layers.0.q"]["shape"], [64, heads, dim])
        self.assertEqual(about["layers.2.v"]["shape"], [64, kv_heads, dim])
        windows = {key: value for key, value in about["__metadata__"].items() if key.endswith("window")}
        self.assertEqual(windows["layers.0.window"], str(random_model.WINDOW))
        self.assertEqual(windows["layers.1.window"], "0")
        self.assertEqual(float(about["__metadata__"]["layers.0.softcap"]), 4)
        done = kvbits("ab", "--trace", trace, "--json", "-", "--quiet", "--pairs", "8/8")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_from_a_recording_to_a_plan_to_its_evaluation(self):
        """record -> plan -> eval; a plan with the same widths everywhere is that scheme, to the last bit."""
        for architecture in ("llama", "gemma2"):  # without windows and with
            trace, plan = self.path / "planned.safetensors", self.path / "plan.json"
            done = kvbits("record", self.models[architecture], "--text", TEXT, "--tokens", 96, "--output", trace)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            done = kvbits("plan", "--trace", trace, "--bits", 5, "--output", plan)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            scheme = self.evaluate(architecture, "--plan", plan, "--engine", "none")["schemes"][0]
            made = json.loads(plan.read_text())
            self.assertEqual([(layer["k_bits"], layer["v_bits"]) for layer in scheme["layers"]],
                             [(layer["k"]["bits"], layer["v"]["bits"]) for layer in made["layers"]])
            self.assertEqual(scheme["bits_per_value"], round(made["bits_per_value"], 6))
            for layer in made["layers"]:
                layer["k"]["bits"], layer["v"]["bits"] = 5, 3
            plan.write_text(json.dumps(made))
            same, planned = self.evaluate(architecture, "--schemes", "5/3", "--plan", plan, "--engine", "none")["schemes"]
            self.assertEqual(planned["name"], "plan 4.5000")
            self.assertEqual((same["kl"], same["layers"]), (planned["kl"], planned["layers"]))

    def test_sensitivity_is_what_one_side_of_one_layer_does_alone(self):
        """As the plans say that have only that side packed."""
        trace, plan = self.path / "sides.safetensors", self.path / "side.json"
        kvbits("record", self.models["llama"], "--text", TEXT, "--tokens", 64, "--output", trace)
        kvbits("plan", "--trace", trace, "--bits", 64, "--output", plan)
        packed = kvbits("plan", "--trace", trace, "--error", 10, "--output", "-")
        made, packed = json.loads(plan.read_text()), json.loads(packed.stdout)
        self.assertEqual({layer[side]["bits"] for layer in made["layers"] for side in "kv"}, {16})
        result = self.evaluate("llama", "--schemes", "3/2", "--sensitivity", "3/2", "--engine", "none", tokens=192)
        self.assertEqual([scheme["name"] for scheme in result["schemes"]], ["3/2"])
        found = result["sensitivity"]
        self.assertEqual((found["k_bits"], found["v_bits"], found["tokens"]), (3, 2, 192))
        self.assertEqual([layer["layer"] for layer in found["layers"]], [0, 1, 2])
        for at, side, bits in ((0, "k", 3), (1, "v", 2), (2, "k", 3), (2, "v", 2)):
            document = json.loads(json.dumps(made))
            document["layers"][at][side] = {**packed["layers"][at][side], "bits": bits}
            plan.write_text(json.dumps(document))
            alone = self.evaluate("llama", "--plan", plan, "--engine", "none", tokens=192)["schemes"][0]
            self.assertEqual(alone["kl"]["mean"], found["layers"][at][side], (at, side))
        for text in ("3/2+4", "16/4", "3", "3/2,4/4", "9/1"):
            done = kvbits("eval", "m.gguf", "--text", "t", "--sensitivity", text)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"--sensitivity is '{text}'; legal: K/V", done.stderr)

    def test_a_plan_from_a_model_weighs_layers_by_what_they_do_to_its_predictions(self):
        def made(*arguments):
            done = kvbits("plan", self.models["llama"], "--text", TEXT, "--trace-tokens", 96, "--probe-tokens", 192,
                          "--probe-window", 96, "--threads", 1, *arguments, "--output", "-")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return json.loads(done.stdout)
        plan = made("--bits", 4.5)
        self.assertLess(0, plan["predicted_kl"])
        self.assertLessEqual(plan["predicted_kl"], plan["uniform"]["predicted_kl"])
        self.assertLessEqual(plan["bits_per_value"], 4.5)
        path = self.path / "of_model.json"
        path.write_text(json.dumps(plan))
        scheme = self.evaluate("llama", "--plan", path, "--engine", "none")["schemes"][0]
        self.assertAlmostEqual(scheme["predicted_kl"] / plan["predicted_kl"], 1, places=5)
        self.assertLess(abs(scheme["kl"]["mean"]["value"] / plan["predicted_kl"] - 1), 1)
        cheap = made("--kl", 2 * plan["predicted_kl"])
        self.assertLessEqual(cheap["predicted_kl"], 2 * plan["predicted_kl"])
        self.assertLess(cheap["bytes_per_token"], plan["bytes_per_token"])
        done = kvbits("plan", self.models["llama"], "--text", TEXT, "--bits", 4.5, "--trace-tokens", 96, "--probe-tokens", 96,
                      "--probe-window", 96, "--threads", 1)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"Mean KL divergence, predicted: \S+ nats \(\d/\d: ")

    def test_plans_from_a_model_are_refused_what_makes_no_sense(self):
        for arguments, sentence in ((("--bits", 4), "which text?"), (("--text", TEXT), "there is no limit"),
                                    (("--text", TEXT, "--trace", "t", "--bits", 4), "two ways"),
                                    (("--text", TEXT, "--bits", 4, "--probe", "4/3t16"), "gives widths alone"),
                                    (("--text", TEXT, "--bits", 4, "--probe-window", 4096), "trained for up to 2048")):
            done = kvbits("plan", self.models["llama"], *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(sentence, done.stderr)

    def test_centered_keys_change_nothing_but_what_is_rounded(self):
        """Keys of 8 bits less a mean that is ten times as large as they are would be lost if it were not added back."""
        trace, plan = self.path / "mean.safetensors", self.path / "mean.json"
        kvbits("record", self.models["gemma2"], "--text", TEXT, "--tokens", 96, "--output", trace)  # has a softcap
        kvbits("plan", "--trace", trace, "--bits", 8.5, "--k-mean", "--output", plan)
        made = json.loads(plan.read_text())
        for layer in made["layers"]:
            layer["k"]["bits"] = layer["v"]["bits"] = 8
        plan.write_text(json.dumps(made))
        same, centered = self.evaluate("gemma2", "--schemes", "8/8", "--plan", plan, "--engine", "none")["schemes"]
        same, centered = (scheme["kl"]["mean"]["value"] for scheme in (same, centered))
        self.assertNotEqual(centered, same)
        self.assertLess(centered, 2 * same)
        for layer in made["layers"]:
            layer["k_mean"] = [[value + 3 for value in head] for head in layer["k_mean"]]
        plan.write_text(json.dumps(made))
        moved = self.evaluate("gemma2", "--plan", plan, "--engine", "none")["schemes"][0]["kl"]["mean"]["value"]
        self.assertTrue(centered < moved < 1000 * same, (centered, moved, same))

    def test_a_plan_of_another_model_is_refused(self):
        trace, plan = self.path / "one.safetensors", self.path / "one.json"
        for layers, sentence in (("1", "has 1 layers, the model 3"), ("0,1,2", "layers[1] is for layer 1 of 2 KV heads of 64")):
            kvbits("record", self.models["llama"], "--text", TEXT, "--tokens", 64, "--layers", layers, "--output", trace)
            kvbits("plan", "--trace", trace, "--bits", 5, "--output", plan)
            made = json.loads(plan.read_text())
            made["layers"][-2 if len(made["layers"]) > 1 else 0]["k"]["head_dim"] = 64
            plan.write_text(json.dumps(made))
            done = kvbits("eval", self.models["llama"], "--text", TEXT, "--window", 96, "--plan", plan, "--engine", "none")
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(sentence, done.stderr)

    def test_layers_and_positions_are_chosen(self):
        whole, part = self.path / "whole.safetensors", self.path / "part.safetensors"
        for path, more in ((whole, ()), (part, ("--layers", "1", "--from", 10))):
            done = kvbits("record", self.models["llama"], "--text", TEXT, "--tokens", 40, "--output", path, "--dtype", "f32",
                          *more)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        tensors = []
        for path in (whole, part):
            data = path.read_bytes()
            header = int.from_bytes(data[:8], "little")
            about = json.loads(data[8:8 + header])
            begin, end = about["layers.1.k"]["data_offsets"]
            tensors.append(data[8 + header + begin:8 + header + end])
        self.assertEqual({key for key in about if key != "__metadata__"}, {"positions", "layers.1.q", "layers.1.k", "layers.1.v"})
        self.assertEqual(tensors[0][10 * len(tensors[0]) // 40:], tensors[1])
        done = kvbits("record", self.models["llama"], "--text", TEXT, "--tokens", 40, "--output", part, "--layers", "3")
        self.assertEqual((done.returncode, done.stderr), (2, "kvbits record: layer 3; the model has layers 0 to 2\n"))


if __name__ == "__main__":
    program = unittest.main(exit=False, failfast="KVB_FAILFAST" in os.environ)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(0 if HAS_ENGINE else SKIPPED)
