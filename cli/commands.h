/* The subcommands: each takes its own argc and argv (argv[0] is its name) and returns the exit code. */
#ifndef KVBITS_CLI_COMMANDS_H
#define KVBITS_CLI_COMMANDS_H

enum {
    KVB_EXIT_OK = 0,
    KVB_EXIT_CHECK = 1, /* the work was done and a check failed */
    KVB_EXIT_INPUT = 2, /* a wrong option or a file that breaks its format */
    KVB_EXIT_IO = 3     /* the operating system refused to open, read or write */
};

int kvb_cmd_ab(int argc, char **argv);
int kvb_cmd_bench(int argc, char **argv);
int kvb_cmd_codebook(int argc, char **argv);
int kvb_cmd_eval(int argc, char **argv);
int kvb_cmd_info(int argc, char **argv);
int kvb_cmd_inspect(int argc, char **argv);
int kvb_cmd_plan(int argc, char **argv);
int kvb_cmd_record(int argc, char **argv);
int kvb_cmd_report(int argc, char **argv);

#endif
