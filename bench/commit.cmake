# Writes OUT, a C file with the commit of SOURCE, which raw results name: at build time, since no configuring sees commits.
# "+" behind it: files differ from that commit. "unknown" where SOURCE is no checkout of its own.
cmake_minimum_required(VERSION 3.21)
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-toplevel OUTPUT_VARIABLE top ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND git -C ${SOURCE} describe --always --abbrev=12 --dirty=+ --exclude=* OUTPUT_VARIABLE commit
                ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
file(REAL_PATH "${SOURCE}" source)
if(NOT top STREQUAL source OR NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "extern const char kvb_bench_commit[];\nconst char kvb_bench_commit[] = \"@commit@\";\n" @ONLY)
