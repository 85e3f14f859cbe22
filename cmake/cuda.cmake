# The CUDA part, libkvbits-cuda: built where there is a CUDA compiler, and absent with a line that says so.
set(KVB_CUDA AUTO CACHE STRING "build libkvbits-cuda: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE KVB_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KVB_HAS_CUDA OFF)

if(KVB_CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(KVB_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(KVB_NVCC)
  endif()
  # KVB_REQUIRE names what must be there (tests/backends.h); nvcc among it is this file's affair.
  string(REPLACE "," ";" KVB_REQUIRED "$ENV{KVB_REQUIRE}")
  if(CMAKE_CUDA_COMPILER OR KVB_NVCC)
    if(NOT CMAKE_CUDA_COMPILER)
      set(CMAKE_CUDA_COMPILER "${KVB_NVCC}" CACHE FILEPATH "the CUDA compiler")
    endif()
    # The kernels use Hopper's bulk copies, those for prompts its warpgroups too, which no other device has: machine code
    # for 9.0, and PTX without them that newer devices compile.
    set(CMAKE_CUDA_ARCHITECTURES 90a-real 90-virtual CACHE STRING "CUDA architectures, 90 at least")
    # Those are the tuned attention kernels; all others run from 8.0 on, and use nothing that only one device has.
    set(KVB_CUDA_GENERAL_ARCHITECTURES 80-real 90 CACHE STRING "CUDA architectures of all but the tuned kernels, 80 at least")
    option(KVB_CUDA_TUNED "build the tuned attention kernels; OFF: the general one serves every layer" ON)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(KVB_HAS_CUDA ON)
    message(STATUS "kvbits: CUDA with ${CMAKE_CUDA_COMPILER} (${CMAKE_CUDA_COMPILER_VERSION})")
  elseif(KVB_CUDA STREQUAL "ON" OR "nvcc" IN_LIST KVB_REQUIRED)
    message(FATAL_ERROR "kvbits: CUDA is required (KVB_CUDA=ON or KVB_REQUIRE=nvcc), and nvcc is neither on PATH nor in /usr/local/cuda/bin")
  else()
    message(STATUS "kvbits: no CUDA, since nvcc is neither on PATH nor in /usr/local/cuda/bin")
  endif()
else()
  message(STATUS "kvbits: no CUDA, as KVB_CUDA=${KVB_CUDA} says")
endif()
