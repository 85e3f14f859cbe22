/* The options of `kvbits ab`: what is not legal is refused with one sentence that names the option, the value and what
 * is legal. The loops go over the command's own list, so that a new option is tested by being there. */
#include "ab_option_list.h"

#include "options_run.h"

/* ---- Bad values ---- */

static void garbage_is_refused_by_every_option_that_takes_no_text(void **state) {
    (void)state;
    static const char *const garbage[] = {"x",     "-",     "--",    "1e999", "99999999999999999999",
                                          "4,,5",  "4/5/6", "nan",   "inf",   "0x",
                                          "4x",    "+",     ",",     "/",     "4,",
                                          "4/",    "-1e",   "1e99,", "\t4",   "4|5",
                                          "none|", "%s%n%d"};
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        char option[64], line[128];
        if (o->kind == KVB_AB_FLAG || o->kind == KVB_AB_NO_FLAG || o->kind == KVB_AB_TEXT || o->kind == KVB_AB_CODEBOOK)
            continue;
        snprintf(option, sizeof option, "--%s", o->name);
        for (size_t j = 0; j < sizeof garbage / sizeof garbage[0]; j++) {
            kvb_ab_options options;
            kvb_error error = {""};
            char *argv[] = {(char *)"kvbits ab", option, (char *)garbage[j], NULL};
            int real = o->kind == KVB_AB_AMOUNT || o->kind == KVB_AB_POSITIVE;
            if (real && strspn(garbage[j], "0123456789") == strlen(garbage[j]))
                continue; /* a number, if a large one */
            kvb_status status = kvb_ab_options_parse(3, argv, &options, &error);
            snprintf(line, sizeof line, "%s is '%s'; legal: ", option, garbage[j]);
            if (status != KVB_ERROR_ARGUMENT || strncmp(error.text, line, strlen(line)) != 0)
                fail_msg("%s '%s': status %d, '%s'", option, garbage[j], status, error.text);
        }
    }
}

static void an_empty_value_is_refused_by_every_option_that_takes_one(void **state) {
    (void)state;
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        char option[64], expected[80];
        snprintf(option, sizeof option, "--%s=", o->name);
        kvb_ab_options options;
        kvb_error error = {""};
        char *argv[] = {(char *)"kvbits ab", option, NULL};
        assert_int_equal(kvb_ab_options_parse(2, argv, &options, &error), KVB_ERROR_ARGUMENT);
        int flag = o->kind == KVB_AB_FLAG || o->kind == KVB_AB_NO_FLAG;
        snprintf(expected, sizeof expected, flag ? "'--%s=': --%s takes no value" : "--%s is ''; legal: ", o->name,
                 o->name);
        if (!strstr(error.text, expected))
            fail_msg("'%s' lacks '%s'", error.text, expected);
    }
}

static void an_option_without_its_value_is_refused(void **state) {
    (void)state;
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        char line[64];
        if (o->kind == KVB_AB_FLAG || o->kind == KVB_AB_NO_FLAG)
            continue;
        snprintf(line, sizeof line, "--quiet --%s", o->name);
        refuse(line, "--", o->name, "needs a value");
    }
}

static void negative_numbers_are_refused(void **state) {
    (void)state;
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        char line[64], named[64];
        if (o->kind != KVB_AB_COUNT && o->kind != KVB_AB_AMOUNT && o->kind != KVB_AB_POSITIVE && o->kind != KVB_AB_SEED)
            continue;
        snprintf(line, sizeof line, "--%s -1", o->name);
        snprintf(named, sizeof named, "--%s is '-1'", o->name);
        refuse(line, named, "legal", "0");
    }
    refuse("--scale 0", "--scale is '0'", "above 0", "");
    refuse("--trace T --scale 0", "--scale is '0'", "above 0", "");
    refuse("--trace T --window -1", "--window is '-1'", "at least 0", "");
    refuse("--trace T --softcap -1", "--softcap is '-1'", "at least 0", "");
}

static void values_outside_their_range_are_refused_with_it(void **state) {
    (void)state;
    refuse("--threads 1025", "--threads is 1025", "1 to 1024", "");
    refuse("--rotation hadamar", "'hadamar'", "none|hadamard|signed", "");
    refuse("--rotation none|hadamard", "'none|hadamard'", "none|hadamard|signed", "");
    refuse_range("--bits 0", "bits is 0; legal: 1 to 8");
    refuse_range("--bits 4,9", "bits is 9; legal: 1 to 8");
    refuse_range("--bits 4,4", "bits 4 is listed twice");
    refuse_range("--bits -4", "bits is -4; legal: 1 to 8");
    refuse_range("--pairs 0/4", "K bits is 0; legal: 1 to 8");
    refuse_range("--pairs 4/9", "V bits is 9; legal: 1 to 8");
    refuse_range("--pairs 4/5,4/5", "pair 4/5 is listed twice");
    refuse_range("--pairs 4/5.5,4/5,4/5.5", "pair 4/5.5 is listed twice");
    refuse_range("--pairs 8.5/4", "K bits is 8.5; legal: 1 to 8 in steps of 0.5");
    refuse_range("--pairs 4/8.5", "V bits is 8.5; legal: 1 to 8 in steps of 0.5");
    refuse_range("--pairs 0.5/4", "K bits is 0; legal: 1 to 8");
    refuse_range("--pairs 6/4.5 --sums index-order", "half bits are given; legal with pairs and sums of lanes only");
    refuse("--pairs 6/4.25", "'6/4.25'", "7/5,6/4.5", "");
    refuse("--pairs 6./4", "'6./4'", "7/5,6/4.5", "");
    refuse_range("--thresholds 0,1", "threshold is 0; legal");
    refuse_range("--thresholds 0.1,11", "threshold is 11; legal");
    refuse_range("--redraws 1001", "redraws is 1001; legal: 0 to 1000");
    refuse_range("--generator student-t --student-dof 0", "is 0; legal: 1 to 32");
    refuse_range("--generator outliers --outlier-channels 257", "is 257; legal: 1 to 256");
    refuse_range("--generator outliers --outlier-factor 1e7", "is 1e+07; legal: 0 to 1e+06");
    refuse_range("--generator sink --sink-strength 1e7", "is 1e+07; legal: 0 to 1e+06");
    refuse_range("--generator low-rank --rank 257", "rank is 257; legal: 0 to 256");
    refuse_range("--generator low-rank --low-rank-noise 1e7", "is 1e+07; legal: 0 to 1e+06");
    refuse_range("--heads 0", "heads is 0; legal: 1 to 1024");
    refuse_range("--heads 4 --kv-heads 8", "kv-heads is 8; legal: 1 to 4");
    refuse_range("--heads 12", "heads 12 is no multiple of kv-heads 8");
    refuse_range("--head-dim 20", "head-dim 20; legal: multiples of 8");
    refuse_range("--head-dim 24 --baselines", "head-dim (baselines are rotated too) 24; legal: 32, 40");
    refuse_range("--kv-lens 64,0", "kv-len is 0; legal: 1 to 1048576");
    refuse_range("--kv-lens 64,64", "kv-len 64 is listed twice");
    refuse_range("--trials 0", "trials is 0; legal: 1 to 1000000");
    refuse_range("--head-dims 36", "head-dim 36; legal: 32, 40");
    refuse_range("--vectors 0", "vectors is 0; legal: 1 to 1000000");
    refuse_range("--scale 1e7", "scale is 1e+07; legal");
    refuse_range("--softcap 1e7", "softcap is 1e+07; legal");
    refuse_range("--window 1048577", "window is 1048577; legal");
    refuse_range("--trace T --queries 1048577", "queries is 1048577; legal: 0 to 1048576");
    refuse_range("--trace T --queries-from 1048577", "queries-from is 1048577; legal: 0 to 1048576");
    refuse_range("--trace T --exact-last 65537", "exact-last is 65537; legal: 0 to 65536");
    refuse_range("--sums index-order --baselines", "sums in index order restate the reference run only");
    refuse_range("--sums index-order --head-dims 96", "round-trip head-dim 96; legal");
}

static void lists_have_an_end(void **state) {
    (void)state;
    char line[1024] = "--kv-lens 1", pairs[1024] = "--pairs 1/1";
    for (int i = 2; i <= 64; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), ",%d", i);
    for (int i = 1; i <= 64; i++)
        snprintf(pairs + strlen(pairs), sizeof pairs - strlen(pairs), ",%d/%d", i / 8 + 1, i % 8 + 1);
    kvb_ab_options o;
    accept(&o, line);
    assert_int_equal(o.config.n_kv_lens, 64);
    strcat(line, ",65");
    refuse(line, "--kv-lens is '1,2,", "1 to 64", "");
    refuse(pairs, "--pairs is '1/1,1/2,", "1 to 64", "");
}

/* ---- Options that would be ignored ---- */

static void what_means_nothing_to_a_trace_is_refused_with_one(void **state) {
    (void)state;
    int synthetic = 0;
    for (int i = 0; kvb_ab_option_at(i); i++) {
        const kvb_ab_option *o = kvb_ab_option_at(i);
        char line[128], named[64];
        if (o->scope != KVB_AB_SYNTHETIC)
            continue;
        const char *value = o->kind == KVB_AB_CHOICE || o->kind == KVB_AB_FLAG ? "" : "8";
        snprintf(line, sizeof line, "--trace T --%s %s%.*s", o->name, value,
                 o->kind == KVB_AB_CHOICE ? (int)strcspn(o->legal, "|") : 0, o->legal ? o->legal : "");
        snprintf(named, sizeof named, "--%s is for synthetic data only", o->name);
        refuse(line, named, "", "");
        synthetic++;
    }
    assert_int_equal(synthetic, 14);
}

static void options_of_something_else_are_refused(void **state) {
    (void)state;
    kvb_ab_options o;
    refuse("--queries 5", "--queries is for --trace only", "", "");
    refuse("--exact-first 4", "--exact-first is for --trace only", "", "");
    refuse("--student-dof 5", "--student-dof is for --generator student-t only", "", "");
    refuse("--generator sink --outlier-channels 5", "--outlier-channels is for --generator outliers only", "", "");
    refuse("--outlier-factor 5", "--outlier-factor is for --generator outliers only", "", "");
    refuse("--outliers spread", "--outliers is for --generator outliers only", "", "");
    refuse("--sink-strength 5", "--sink-strength is for --generator sink only", "", "");
    refuse("--rank 5", "--rank is for --generator low-rank only", "", "");
    refuse("--low-rank-noise 5", "--low-rank-noise is for --generator low-rank only", "", "");
    refuse("--cdf erfc --codebook beta", "--cdf is for --codebook default and lloyd only", "", "");
    refuse("--trace T --cdf erfc", "--cdf is for --codebook default and lloyd only", "", "");
    refuse("--sign-seed 5", "--sign-seed is for --rotation signed", "--baselines", "--redraws");
    refuse("--softmax flat --scale 2", "--softmax flat", "--scale", "");
    accept(&o, "--sign-seed 5 --redraws 2");
    accept(&o, "--sign-seed 5 --baselines");
    accept(&o, "--trace T --sign-seed 5");
    accept(&o, "--trace T --cdf erfc --codebook lloyd");
}

static void what_is_no_option_is_named(void **state) {
    (void)state;
    refuse("--nonsense", "'--nonsense'", "--help lists the legal ones", "");
    refuse("--quiet --nonsense=4 --bits 4", "'--nonsense=4'", "--help", "");
    refuse("--s 4", "'--s'", "ambiguous", "--help");
    refuse("--head 64", "'--head'", "ambiguous", "--help");
    refuse("-x", "'-x'", "--help", "");
    refuse("-qx", "'-qx'", "--help", "");
    refuse("-", "'-' is no option", "begins with --", "");
    refuse("word --nonsense", "'word' is no option", "begins with --", "");
    refuse("--bits 4 5", "'5' is no option", "begins with --", "");
    refuse("-- --bits", "'--bits' is no option", "", "");
    refuse("--quiet=yes", "'--quiet=yes'", "--quiet takes no value", "");
}

static void long_values_leave_room_for_what_is_legal(void **state) {
    (void)state;
    char line[2048] = "--bits ";
    memset(line + strlen(line), '7', 1500);
    refuse(line, "--bits is '777", "legal", "commas");
    memcpy(line, "--thresholds ", 13);
    refuse(line, "--thresholds is '777", "legal", "two numbers");
    memcpy(line, "--generator 7", 13);
    refuse(line, "--generator is '777", "legal", "low-rank");
    memcpy(line, "--7777777777 ", 12);
    refuse(line, "'--777", "--help", "");
    memcpy(line, "7777777777777", 13);
    refuse(line, "'777", "begins with --", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_refused_by_every_option_that_takes_no_text),
        cmocka_unit_test(an_empty_value_is_refused_by_every_option_that_takes_one),
        cmocka_unit_test(an_option_without_its_value_is_refused),
        cmocka_unit_test(negative_numbers_are_refused),
        cmocka_unit_test(values_outside_their_range_are_refused_with_it),
        cmocka_unit_test(lists_have_an_end),
        cmocka_unit_test(what_means_nothing_to_a_trace_is_refused_with_one),
        cmocka_unit_test(options_of_something_else_are_refused),
        cmocka_unit_test(what_is_no_option_is_named),
        cmocka_unit_test(long_values_leave_room_for_what_is_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
