/* kvbits: hands its arguments to a subcommand. */
#include "commands.h"
#include "interrupt.h"

#include <stdio.h>
#include <string.h>

#include "kvbits/kvbits.h"

typedef struct command {
    const char *name;
    const char *program; /* argv[0] of the subcommand, so that its --help says how it was called */
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command commands[] = {
    {"ab", "kvbits ab", kvb_cmd_ab, "the bit-width A/B, on synthetic data or on a recorded trace"},
    {"bench", "kvbits bench", kvb_cmd_bench, "how fast the kernels are here, beside what the machine can do at most"},
    {"codebook", "kvbits codebook", kvb_cmd_codebook, "print codebooks, or check one that you have"},
    {"eval", "kvbits eval", kvb_cmd_eval, "what caches do to a real model's predictions (needs llama.cpp)"},
    {"info", "kvbits info", kvb_cmd_info, "what a cache takes, for every pair of widths"},
    {"inspect", "kvbits inspect", kvb_cmd_inspect, "what a saved cache (.kvb) holds, and whether it is whole"},
    {"plan", "kvbits plan", kvb_cmd_plan,
     "which widths each layer should have within a budget, from a trace or a model"},
    {"record", "kvbits record", kvb_cmd_record, "a trace of a real model for kvbits ab (needs llama.cpp)"},
    {"report", "kvbits report", kvb_cmd_report, "result.md and report.html from an earlier run's result.json"},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *stream) {
    fputs("Usage: kvbits COMMAND [OPTION...]\n"
          "How few bits can each layer's keys and values take before attention notices?\n\nCommands:\n",
          stream);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`kvbits COMMAND --help` explains a command's options; `kvbits --version` prints the version.\n"
          "Exit codes: 0 done, 1 a check failed, 2 bad input, 3 input/output error.\n",
          stream);
}

static int unknown(const char *name) {
    fprintf(stderr, "kvbits: '%s' is no command; the commands are", name);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : i + 1 == N_COMMANDS ? " and" : ",", commands[i].name);
    fputs(" (kvbits --help)\n", stderr);
    return KVB_EXIT_INPUT;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return KVB_EXIT_INPUT;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return KVB_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("kvbits %s\n", kvb_version());
        return KVB_EXIT_OK;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            argv[1] = (char *)commands[i].program;
            return commands[i].run(argc - 1, argv + 1);
        }
    return unknown(argv[1]);
}

int main(int argc, char **argv) {
    kvb_interrupt_prepare();
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* whole lines between those of standard error, where both go to one pipe */
    int code = dispatch(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == KVB_EXIT_OK) {
        fputs("kvbits: standard output could not be written\n", stderr);
        code = KVB_EXIT_IO;
    }
    return code;
}
