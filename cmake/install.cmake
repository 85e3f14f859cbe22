# `cmake --install`: headers, both libraries as shared and static, the command, the CMake package and pkg-config files.
include(CMakePackageConfigHelpers)
set(KVB_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/kvbits)

install(FILES ${PROJECT_SOURCE_DIR}/include/kvbits/kvbits.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvbits)
install(TARGETS kvbits kvbits-shared EXPORT kvbitsTargets)
install(EXPORT kvbitsTargets NAMESPACE kvbits:: DESTINATION ${KVB_CMAKE_DIR})
set(pc_files kvbits.pc)

if(KVB_BUILD_EVAL)
  install(FILES ${PROJECT_SOURCE_DIR}/include/kvbits/eval.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvbits)
  # The static library in a set of its own: only its users need jansson and SLEEF at link time.
  install(TARGETS kvbits-eval-shared EXPORT kvbitsEvalTargets)
  install(TARGETS kvbits-eval EXPORT kvbitsEvalStaticTargets)
  install(EXPORT kvbitsEvalTargets NAMESPACE kvbits:: DESTINATION ${KVB_CMAKE_DIR})
  install(EXPORT kvbitsEvalStaticTargets NAMESPACE kvbits:: DESTINATION ${KVB_CMAKE_DIR})
  list(APPEND pc_files kvbits-eval.pc)
endif()
if(KVB_HAS_CUDA)
  install(FILES ${PROJECT_SOURCE_DIR}/include/kvbits/cuda.h ${PROJECT_SOURCE_DIR}/include/kvbits/cuda_cache.h
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvbits)
  install(TARGETS kvbits-cuda EXPORT kvbitsCudaTargets)
  install(EXPORT kvbitsCudaTargets NAMESPACE kvbits:: DESTINATION ${KVB_CMAKE_DIR})
endif()
if(KVB_BUILD_CLI)
  install(TARGETS kvbits-cli RUNTIME)
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/kvbitsConfig.cmake.in ${PROJECT_BINARY_DIR}/kvbitsConfig.cmake
                              INSTALL_DESTINATION ${KVB_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/kvbitsConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kvbitsConfig.cmake ${PROJECT_BINARY_DIR}/kvbitsConfigVersion.cmake
        DESTINATION ${KVB_CMAKE_DIR})

# The prefix is relative to the .pc file, so that an installed tree can be moved.
file(RELATIVE_PATH KVB_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(pc ${pc_files})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${pc}.in ${PROJECT_BINARY_DIR}/${pc} @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc} DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
