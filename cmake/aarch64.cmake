# Builds for AArch64 on another machine and runs the tests under qemu. cmocka comes from KVB_SYSROOT, where
# scripts/install_packages.sh cross unpacks it; everything else from the cross compiler's own packages.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(KVB_CROSS_LIBC /usr/aarch64-linux-gnu)
set(KVB_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build-sysroot-aarch64)
get_filename_component(KVB_SYSROOT ${KVB_SYSROOT} ABSOLUTE)

set(CMAKE_FIND_ROOT_PATH ${KVB_CROSS_LIBC} ${KVB_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${KVB_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${KVB_SYSROOT})

find_program(KVB_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(KVB_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${KVB_QEMU};-L;${KVB_CROSS_LIBC})
endif()
