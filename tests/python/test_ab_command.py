"""`kvbits ab`: exit codes, what goes to which stream and file, result.json's keys, and that it depends on nothing but
the question asked."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

KVBITS = os.environ["KVBITS"]
TESTS = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "bitwidth_ab.json"
TRACE = TESTS / "data" / "smollm2_trace.safetensors"
SMALL = ("--heads", "4", "--kv-heads", "2", "--head-dim", "64", "--kv-lens", "8,70", "--trials", "3", "--head-dims", "32,64",
         "--vectors", "5", "--bits", "3,4")
SMALL_TRACE = ("--trace", TRACE, "--queries", "9", "--bits", "3,5")
FULL_SIZE = unittest.skipUnless(os.environ.get("KVBITS_BUILD", "Release") == "Release", "a minute or more in other builds")
FOR_EVER = ("--trials", "1000000", "--kv-lens", "1000000")  # what is found after the work is not found in time

OPTIONS = """bits pairs thresholds baselines redraws rotation sign-seed scale-kind trellis scale-dtype codebook cdf trace queries queries-from k-mean exact-first exact-last
generator student-dof outlier-channels outlier-factor outliers sink-strength rank low-rank-noise seed heads kv-heads
head-dim kv-lens trials head-dims vectors scale softmax softcap window frontier effort sums no-skip threads out json no-report quiet
help""".split()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def ab(self, *options, **more):
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder, "timeout": 240, **more}
        return subprocess.run([KVBITS, "ab", *map(str, options)], text=True, check=False, **more)

    def json_of(self, *options):
        done = self.ab("--json", "-", *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def refuse(self, code, words, *options, left=()):
        """Refused in one line, before any work and without leaving a folder behind."""
        done = self.ab(*options, stdin=subprocess.DEVNULL, timeout=20)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("kvbits ab: "), done.stderr)
        for word in words if isinstance(words, tuple) else (words,):
            self.assertIn(word, done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(left))


class Frontier(Case):
    QUESTION = (*SMALL, "--frontier", "--redraws", "2", "--thresholds", "5,9")

    def test_every_family_has_its_pairs_and_the_fewest_bits_that_pass(self):
        found = json.loads(self.json_of(*self.QUESTION))
        names = ["Lloyd-Max, norm", "Lloyd-Max, lsq", "trellis of 16, lsq", "bound"]
        halves = [f"trellis of 16 with half bits, {scale}" for scale in ("lsq", "search")]
        self.assertEqual([family["family"] for family in found["families"]], names[:3] + halves + names[3:])
        self.assertEqual([len(family["pairs"]) for family in found["families"]], [21, 21, 14, 5, 5, 21])
        errors = {}
        for family in found["families"]:
            fewest = min(family["pairs"], key=lambda pair: (pair["average_bits"], pair["nrmse_mean"]))
            self.assertEqual(family["fewest"][0], fewest)  # all pass thresholds as high as these
            errors[family["family"]] = {(p["k_bits"], p["v_bits"]): p["nrmse_mean"] for p in family["pairs"]}
        for pair in ((6, 4), (5, 3)):
            scalar, trellis, bound = (errors[name][pair] for name in names[1:])
            self.assertTrue(bound < trellis < scalar, (pair, scalar, trellis, bound))
        whole, (half, searched) = errors["trellis of 16, lsq"], (errors[name] for name in halves)
        self.assertTrue(whole[6, 5] < half[6, 4.5] < whole[6, 4] < half[6, 3.5] < whole[6, 3], half)
        self.assertTrue(all(searched[pair] < half[pair] for pair in half), (searched, half))

    def test_documents_go_into_the_folder(self):
        done = self.ab(*self.QUESTION, "--quiet")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.folder / "kvbits-ab")), ["frontier.json", "frontier.md"])

    def test_wrong_questions_are_refused(self):
        self.refuse(2, "effort is 3; legal: 0 to 2", "--frontier", "--effort", "3")
        self.refuse(2, "--effort is for --frontier only", "--effort", "1")
        self.refuse(2, "trellis is 12; legal: 0 (scalar codes), 8, 16, 64 or 256", "--trellis", "12")


class Output(Case):
    def test_both_streams_into_one_pipe_keep_their_lines_whole_and_in_order(self):
        done = self.ab(*SMALL, "--no-report", stderr=subprocess.STDOUT)
        text = (self.folder / "kvbits-ab" / "result.md").read_text()
        self.assertEqual(done.stdout, text + "kvbits ab: every check holds; kvbits-ab/ holds result.json, result.md\n")

    def test_the_folder_holds_the_documents_and_stdout_the_tables(self):
        done = self.ab(*SMALL, "--no-report", "--json", "copy.json")
        folder = self.folder / "kvbits-ab"
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "kvbits ab: every check holds; kvbits-ab/ holds result.json, result.md\n")
        self.assertEqual(sorted(os.listdir(folder)), ["result.json", "result.md"])
        self.assertEqual(sorted(os.listdir(self.folder)), ["copy.json", "kvbits-ab"])
        self.assertEqual((folder / "result.md").read_text(), done.stdout)
        self.assertIn("## Verdict", done.stdout)
        self.assertEqual((folder / "result.json").read_bytes(), (self.folder / "copy.json").read_bytes())

    def test_the_report_comes_with_the_rest_unless_left_out(self):
        if not shutil.which("gnuplot"):
            self.skipTest("no gnuplot")
        done = self.ab(*SMALL, "--out", "deep/er", "--quiet")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.folder / "deep" / "er")), ["report.html", "result.json", "result.md"])
        self.assertIn("</html>", (self.folder / "deep" / "er" / "report.html").read_text())

    def test_a_dash_gives_json_alone_and_no_folder(self):
        document = json.loads(self.json_of(*SMALL))
        self.assertEqual(document["kvbits"]["kind"], "synthetic")
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_dash_with_a_folder_gives_both(self):
        done = self.ab(*SMALL, "--json", "-", "--out", "here", "--no-report", "--quiet")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, (self.folder / "here" / "result.json").read_text())

    def test_quiet_is_silent(self):
        done = self.ab(*SMALL, "--quiet", "--no-report")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_help_explains_every_option(self):
        done = self.ab("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in OPTIONS:
            self.assertRegex(done.stdout, rf"(?m)^  --{option}( \S+)?( |$)")
        self.assertEqual(done.stdout.count("\n  --"), len(OPTIONS))
        self.assertNotRegex(done.stdout, r"(?m) $")
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 110)


class Keys(Case):
    def expect(self, found, names):
        self.assertEqual(set(names.split()) - set(found), set())

    def expect_pair(self, cell):
        self.expect(cell, "k v k_stored_bits v_stored_bits average_bits n_trials nrmse_mean nrmse_std nrmse_p999 nrmse_low "
                          "nrmse_high cosine_mean k_only_mean k_only_low k_only_high v_only_mean v_only_low v_only_high")

    def expect_common(self, document, where):
        self.expect(document, "kvbits bit_widths decision_threshold_nrmse decision_threshold_alt_nrmse configuration "
                              "codebook_sources codebooks worst_pairs needed verdict verdict_at_threshold_015 "
                              "verdict_rationale checks lloyd_max_convergence")
        self.expect(document["worst_pairs"][0], f"k v average_bits {where} nrmse_worst nrmse_low nrmse_high passes")
        self.expect(document["needed"][0], "threshold k_bits_alone v_bits_alone symmetric_bits cheapest_pair")
        self.expect(document["checks"][0], "name passed detail")

    def expect_no_traces_of_the_run(self, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                self.assertNotRegex(key, r"time|date|host|thread|second|path|folder|cpu|machine")
                self.expect_no_traces_of_the_run(inner)
        elif isinstance(value, list):
            for inner in value:
                self.expect_no_traces_of_the_run(inner)

    def test_synthetic(self):
        document = json.loads(self.json_of(*SMALL, "--redraws", "2"))
        self.expect_common(document, "kv_seq_len")
        self.expect(document, "seed shape kv_seq_lens n_trials_per_sdpa_cell codebook_4bit_sanity_gate round_trip_cells "
                              "sdpa_cells pair_cells logit_cells worst_nrmse paired_comparisons")
        self.expect(document["shape"], "num_heads num_kv_heads head_dim")
        self.expect(document["lloyd_max_convergence"]["4bit"], "iteration_count final_max_change")
        self.expect(document["codebook_4bit_sanity_gate"], "max_diff_vs_production passed")
        self.expect(document["round_trip_cells"][0], "bit_width case head_dim nrmse_mean nrmse_std nrmse_low nrmse_high")
        self.expect(document["sdpa_cells"][0], "bit_width k_bits v_bits kv_seq_len n_trials nrmse_mean nrmse_std nrmse_low "
                                               "nrmse_high")
        for cell in document["pair_cells"]:
            self.expect_pair(cell)
            self.expect(cell, "kv_seq_len redraw_mean redraw_std redraw_low redraw_high")
        self.expect(document["logit_cells"][0], "k kv_seq_len logit_rmse softmax_kl softmax_kl_p999 top1_flips top5_flips")
        self.expect(document["worst_nrmse"], "3bit 4bit")
        self.expect(document["paired_comparisons"][0], "a b kv_seq_len difference_mean difference_low difference_high")
        self.assertEqual(len(document["codebooks"]["4_bit"]), 16)
        self.expect_no_traces_of_the_run(document)

    def test_gate_2_stands_where_its_cell_is_measured(self):
        options = (*SMALL, "--kv-lens", "8,512", "--trials", "1")
        self.expect(json.loads(self.json_of(*options))["sdpa_sanity_gate"], "4bit_at_kvl_512 passed")
        self.assertNotIn("sdpa_sanity_gate", json.loads(self.json_of(*SMALL)))

    def test_trace(self):
        document = json.loads(self.json_of(*SMALL_TRACE, "--baselines"))
        self.expect_common(document, "layer")
        self.expect(document, "trace layers")
        self.assertEqual(document["trace"]["file"], TRACE.name)
        self.expect(document["trace"]["metadata"], "model license")
        self.expect(document["worst_pairs"][0], "nrmse_average")
        for layer in document["layers"]:
            self.expect(layer, "layer tokens num_heads num_kv_heads head_dim v_head_dim scale softcap window queries "
                               "pair_cells logit_cells needed verdicts")
            self.assertEqual((layer["queries"], len(layer["verdicts"]), len(layer["pair_cells"])), (9, 2, 4 + 8))
            self.expect_pair(layer["pair_cells"][0])
        self.expect_no_traces_of_the_run(document)

    def test_one_sample_has_no_interval(self):
        document = json.loads(self.json_of(*SMALL, "--trials", "1"))
        for cell in document["pair_cells"] + document["sdpa_cells"] + document["worst_pairs"]:
            self.assertIsNone(cell["nrmse_low"])
            self.assertIsNone(cell["nrmse_high"])
        self.assertIsNone(document["paired_comparisons"][0]["difference_low"])
        self.assertNotIn("[", document["verdict_rationale"])
        self.assertIsNotNone(document["round_trip_cells"][0]["nrmse_low"])  # of 5 vectors


class SameBytes(Case):
    def expect_one(self, *options):
        first = self.json_of(*options, "--threads", "1")
        for threads in ("2", "3", "0"):
            self.assertEqual(self.json_of(*options, "--threads", threads), first)
        # What is skipped weighs less than 2^-30 of a softmax: at most a figure's eighth decimal may round elsewhere.
        self.expect_near(json.loads(self.json_of(*options, "--no-skip")), json.loads(first))

    def expect_near(self, found, expected):
        if isinstance(expected, dict):
            self.assertEqual(list(found), list(expected))
            found, expected = list(found.values()), list(expected.values())
        if isinstance(expected, list):
            self.assertEqual(len(found), len(expected))
            for one, other in zip(found, expected):
                self.expect_near(one, other)
        elif isinstance(expected, float):
            self.assertAlmostEqual(found, expected, delta=2e-8)
        elif not (isinstance(expected, str) and "." in expected):  # sentences hold figures too
            self.assertEqual(found, expected)

    def test_whatever_the_threads(self):
        self.expect_one(*SMALL, "--baselines", "--redraws", "2", "--generator", "student-t")
        self.expect_one(*SMALL, "--pairs", "grid", "--window", "9", "--softcap", "20")

    def test_of_a_trace_too(self):
        self.expect_one(*SMALL_TRACE, "--baselines")

    def test_of_a_trace_under_another_name_but_the_name(self):
        link = self.folder / "other"
        link.symlink_to(TRACE)
        mine = json.loads(self.json_of(*SMALL_TRACE))
        other = json.loads(self.json_of("--queries", "9", "--bits", "3,5", "--tra", link))  # the same defaults
        self.assertEqual(other["trace"].pop("file"), "other")
        mine["trace"].pop("file")
        self.assertEqual(mine, other)

    def test_a_name_that_is_no_utf8_is_shown_with_question_marks(self):
        link = os.fsencode(self.folder) + b"/caf\xe9"
        os.symlink(os.fsencode(TRACE), link)
        done = subprocess.run([KVBITS, b"ab", b"--json", b"-", b"--queries", b"1", b"--trace", link], capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["trace"]["file"], "caf?")


class Refused(Case):
    def test_bad_options(self):
        self.refuse(2, ("--bits is 'four'", "legal"), "--bits", "four")
        self.refuse(2, ("bits is 9", "legal: 1 to 8"), "--bits", "9")
        self.refuse(2, "--nonsense", "--nonsense")
        self.refuse(2, "--bits needs a value", "--bits")
        self.refuse(2, "'4' is no option", "4")
        self.refuse(2, "--heads is for synthetic data only", "--heads", "4", "--trace", TRACE)
        self.refuse(2, "--queries is for --trace only", "--queries", "4")
        self.refuse(2, "--out is ''", "--out", "")

    def test_traces(self):
        whole = TRACE.read_bytes()
        cut = self.folder / "cut.safetensors"
        self.refuse(3, "missing.safetensors", "--trace", "missing.safetensors")
        for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
            cut.write_bytes(whole[:size])
            self.refuse(2, "cut.safetensors", "--trace", cut.name, left=[cut.name])

    def test_a_trace_with_nan(self):
        whole = TRACE.read_bytes()
        header = 8 + struct.unpack("<Q", whole[:8])[0]
        tensor = json.loads(whole[8:header])["layers.10.k"]
        _, heads, dim = tensor["shape"]
        at = header + tensor["data_offsets"][0] + 2 * ((5 * heads + 1) * dim + 7)
        (self.folder / "nan").write_bytes(whole[:at] + b"\x00\x7e" + whole[at + 2:])
        done = self.ab("--trace", "nan", "--json", "-")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"^kvbits ab: .*layers\.10\.k: token 5, head 1, coordinate 7 is -?nan, .*\n$")

    def test_codebook_files(self):
        path = self.folder / "tables.json"
        self.refuse(3, ("libary", "takes default, lloyd, library, beta or a file"), "--codebook", "libary")
        for text, words in (("{", "tables.json"), ('{"codebooks": {"2_bit": [1, 2, 2, 3]}}', "must rise strictly"),
                            ('{"codebooks": {"4_bit": [1, 2]}}', "4_bit")):
            path.write_text(text)
            self.refuse(2, words, "--codebook", path.name, left=[path.name])
        path.write_text('{"codebooks": {"2_bit": [-1.5, -0.5, 0.5, 1.5]}}')
        done = self.ab("--codebook", path.name, "--json", "-")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn('no "6_bit" table', done.stderr)

    def test_output_that_cannot_be_written_is_found_before_the_work(self):
        (self.folder / "file").write_text("")
        for word, *options in (("file", "--out", "file"), ("file", "--out", "file/below"), ("/dev/null/x", "--out", "/dev/null/x"),
                               ("file", "--json", "file/below"), ("no/such", "--json", "no/such/folder.json"),
                               (". is a folder", "--json", ".")):
            out = () if "--out" in options else ("--out", ".")
            self.refuse(3, word, "--no-report", *options, *out, *FOR_EVER, left=["file"])

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_a_folder_without_permission_is_found_before_the_work(self):
        (self.folder / "closed").mkdir(mode=0o500)
        self.refuse(3, "closed", "--no-report", "--out", "closed", *FOR_EVER, left=["closed"])

    def test_a_full_disk_is_an_error(self):
        done = self.ab(*SMALL, "--quiet", "--no-report", "--json", "/dev/full")
        self.assertEqual(done.returncode, 3)
        self.assertIn("/dev/full", done.stderr)
        with open("/dev/full", "w", encoding="ascii") as full:
            done = self.ab(*SMALL, "--json", "-", stdout=full)
        self.assertEqual(done.returncode, 3)
        self.assertIn("could not be written", done.stderr)


class Checks(Case):
    def failing(self, *options):
        done = self.ab(*options, "--no-report", "--out", "evidence")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r'^kvbits ab: \d+ checks? failed, see "checks" in result\.md\n$')
        document = json.loads((self.folder / "evidence" / "result.json").read_text())
        self.assertIn("FAIL", (self.folder / "evidence" / "result.md").read_text())
        return document, [check["name"] for check in document["checks"] if not check["passed"]]

    def tables(self, change):
        books = json.loads(GOLDEN.read_text())["codebooks"]
        books["4_bit"] = change(books["4_bit"])
        path = self.folder / "tables.json"
        path.write_text(json.dumps({"codebooks": books}))
        return path.name

    def test_a_failed_check_ends_with_1_and_leaves_its_evidence(self):
        _, failed = self.failing(*SMALL, "--bits", "4,5", "--codebook", self.tables(lambda t: [x + 0.001 for x in t]))
        self.assertEqual(failed, ["codebook symmetric and strictly increasing"])

    @FULL_SIZE
    def test_a_wrong_4_bit_table_fails_gate_1(self):
        document, failed = self.failing("--codebook", self.tables(lambda t: [1.001 * x for x in t]))
        self.assertEqual(failed, ["gate 1: 4-bit codebook against production"])
        self.assertIs(document["codebook_4bit_sanity_gate"]["passed"], False)
        self.assertGreater(document["codebook_4bit_sanity_gate"]["max_diff_vs_production"], 1e-3)


class Pairs(Case):
    def test_half_bits_are_pairs_like_others(self):
        question = (*SMALL, "--pairs", "6/4.5,5.5/4,6/4,4.5/4.5", "--scale-dtype", "f16", "--scale-kind", "lsq")
        document = json.loads(self.json_of(*question, "--thresholds", "5,9"))
        found = {f"{p['k']}/{p['v']}": p for p in document["worst_pairs"]}
        self.assertEqual({name: pair["average_bits"] for name, pair in found.items()},
                         {"6/4.5": 5.5, "5.5/4": 5, "6/4": 5.25, "4.5/4.5": 4.75})  # and a half for each of 64 values
        for needed in document["needed"]:
            self.assertEqual((needed["k_bits_alone"], needed["v_bits_alone"], needed["symmetric_bits"]), (4.5, 4, None))
            self.assertEqual((needed["cheapest_pair"]["k"], needed["cheapest_pair"]["v"]), ("4.5", "4.5"))
        self.assertEqual(document["verdict"], "pair_4.5_4.5_sufficient")
        # Between whole bits: the same data, the same codebooks.
        whole = json.loads(self.json_of(*question[: len(SMALL)], "--pairs", "6/5,6/4,5/4,5/5", *question[-4:]))
        errors = {f"{p['k']}/{p['v']}": p["nrmse_mean"] for p in document["pair_cells"] + whole["pair_cells"]
                  if p["kv_seq_len"] == 70}
        self.assertLess(errors["6/5"], errors["6/4.5"])
        self.assertLess(errors["6/4.5"], errors["6/4"])
        self.assertLess(errors["5/5"], errors["4.5/4.5"])
        # --codebook library: the codes of half a bit are the library's own.
        report = self.ab(*SMALL, "--pairs", "5.5/4.5", "--codebook", "library", "--thresholds", "5,0.0001", "--out", "halves")
        self.assertEqual(report.returncode, 0, report.stderr)
        for text in report.stdout, (self.folder / "halves" / "report.html").read_text(encoding="utf-8"):
            self.assertIn("K/V 5.5/4.5 is enough", text)
            self.assertIn("no tested pair is enough", text)

    def test_head_dims_that_have_no_half_bits_are_refused(self):
        self.refuse(2, "head-dim is 72; legal with half bits: multiples of 16", "--pairs", "6/4.5", "--head-dim",
                    "72", "--trials", "1", "--kv-lens", "8", "--vectors", "1", "--head-dims", "32", "--bits", "3",
                    left=())

    @FULL_SIZE
    def test_seven_and_five_bits_pass_where_six_and_six_fail(self):
        document = json.loads(self.json_of("--pairs", "7/5,6/4,6/6", "--thresholds", "0.1,0.15"))
        found = {f"{p['k']}/{p['v']}": p for p in document["worst_pairs"]}
        for pair, error, passes in (("7/5", 0.075, [True, True]), ("6/6", 0.103, [False, True]),
                                    ("6/4", 0.140, [False, True])):
            self.assertAlmostEqual(found[pair]["nrmse_worst"], error, delta=0.002)
            self.assertEqual(found[pair]["passes"], passes)
        self.assertEqual(found["7/5"]["average_bits"], found["6/6"]["average_bits"])
        cheapest = [needed["cheapest_pair"] for needed in document["needed"]]
        self.assertEqual([(c["k"], c["v"]) for c in cheapest], [("7", "5"), ("6", "4")])


if __name__ == "__main__":
    unittest.main()
