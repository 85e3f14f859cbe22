# Writes OUT, a header with the commit of SOURCE, which raw results name: at build time, since no configuring sees commits.
# "+" behind it: files differ from that commit. "unknown" where SOURCE is no checkout of its own.
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-toplevel OUTPUT_VARIABLE top ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND git -C ${SOURCE} describe --always --abbrev=12 --dirty=+ --exclude=* OUTPUT_VARIABLE commit
                ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
file(REAL_PATH "${SOURCE}" source)
if(NOT top STREQUAL source OR NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define KVB_BENCH_COMMIT \"@commit@\"\n" @ONLY)
