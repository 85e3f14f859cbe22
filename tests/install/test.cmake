# Installs the build into a fresh prefix and uses it from outside, as a stranger would: the examples built by
# find_package and by pkg-config, a program on the evaluation library, and the installed command.
set(work ${BUILD}/install-test)
set(prefix ${work}/prefix)
file(REMOVE_RECURSE ${work})

function(must)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " line)
    message(FATAL_ERROR "${line}\nended with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

must(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
file(GLOB_RECURSE config RELATIVE ${prefix} ${prefix}/*kvbitsConfig.cmake)
if(NOT config)
  message(FATAL_ERROR "no kvbitsConfig.cmake under ${prefix}")
endif()
get_filename_component(libdir ${config}/../../.. ABSOLUTE BASE_DIR ${prefix})

# Nothing installed may point back at the source or at the build.
file(GLOB_RECURSE texts ${prefix}/*.cmake ${prefix}/*.pc)
foreach(text ${texts})
  file(READ ${text} content)
  foreach(folder ${SOURCE} ${BUILD})
    string(FIND "${content}" "${folder}/" found)
    if(NOT found EQUAL -1)
      message(FATAL_ERROR "${text} names ${folder}")
    endif()
  endforeach()
endforeach()

# A moved tree must still work.
file(RENAME ${prefix} ${work}/moved)
string(REPLACE ${prefix} ${work}/moved libdir ${libdir})
set(prefix ${work}/moved)
set(ENV{LD_LIBRARY_PATH} ${libdir})

must(${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE}/tests/install -B ${work}/consumer -DCMAKE_BUILD_TYPE=Release
     -DCMAKE_C_COMPILER=${CC} -DCMAKE_PREFIX_PATH=${prefix} -DEXAMPLES=${SOURCE}/examples)
must(${CMAKE_COMMAND} --build ${work}/consumer)
foreach(program roundtrip roundtrip-static decode_loop decode_loop-static evaluation)
  must(${work}/consumer/${program})
  message("${program}: ${output}")
endforeach()

set(ENV{PKG_CONFIG_PATH} ${libdir}/pkgconfig)
must(pkg-config --cflags --libs kvbits)
separate_arguments(flags UNIX_COMMAND "${output}")
foreach(example roundtrip decode_loop)
  must(${CC} -std=c11 ${SOURCE}/examples/${example}.c -o ${work}/${example} ${flags} -lm)
  must(${work}/${example})
endforeach()
message("pkg-config: ${output}")

if(EXISTS ${prefix}/bin/kvbits)
  set(ENV{LD_LIBRARY_PATH} "")
  must(${prefix}/bin/kvbits --version)
  message("command: ${output}")
endif()
