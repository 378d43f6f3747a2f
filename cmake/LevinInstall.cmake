# cmake --install: headers, libraries, the program, and a package for find_package(levin).
include(CMakePackageConfigHelpers)

get_property(levin_targets GLOBAL PROPERTY LEVIN_TARGETS)
install(TARGETS ${levin_targets} EXPORT levinTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

set(levin_folders core tune dist)
if(LEVIN_WITH_TORCH)
  list(APPEND levin_folders data nn optim compile train sweep)
  install(FILES src/levin/levin.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/levin)
endif()
foreach(folder IN LISTS levin_folders)
  install(DIRECTORY src/levin/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/levin
          FILES_MATCHING PATTERN "*.h" PATTERN "*_impl.h" EXCLUDE PATTERN "*-inl.h" EXCLUDE)
endforeach()

# The kernels' headers go with them even where the rest of compile/ is not built.
install(DIRECTORY src/levin/compile/kernels DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/levin/compile
        FILES_MATCHING PATTERN "*.h" PATTERN "*_impl.h" EXCLUDE PATTERN "*-inl.h" EXCLUDE)

set(levin_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/levin)
install(EXPORT levinTargets NAMESPACE levin:: DESTINATION ${levin_package_dir})
configure_package_config_file(cmake/levinConfig.cmake.in ${PROJECT_BINARY_DIR}/levinConfig.cmake
                              INSTALL_DESTINATION ${levin_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/levinConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/levinConfig.cmake ${PROJECT_BINARY_DIR}/levinConfigVersion.cmake
        DESTINATION ${levin_package_dir})
