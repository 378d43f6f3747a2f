# LibTorch: the user's own by Torch_DIR or CMAKE_PREFIX_PATH, else the wheel in .venv that scripts/setup made.
if(NOT Torch_DIR)
  file(GLOB levin_wheel ${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch)
endif()
find_package(Torch QUIET HINTS ${levin_wheel})
if(NOT Torch_FOUND)
  message(FATAL_ERROR "LibTorch was not found. Run scripts/setup to install the PyPI wheel into .venv, "
                      "or point CMake at your own: -DTorch_DIR=<libtorch>/share/cmake/Torch")
endif()
message(STATUS "LibTorch ${Torch_VERSION}: ${Torch_DIR}")

# torch's own target leaks warnings and a C++ standard; this one does not.
if(NOT TARGET levin::torch)
  add_library(levin_torch INTERFACE)
  add_library(levin::torch ALIAS levin_torch)
  set_target_properties(levin_torch PROPERTIES EXPORT_NAME torch)
  target_link_libraries(levin_torch INTERFACE torch)
  set_property(GLOBAL APPEND PROPERTY LEVIN_TARGETS levin_torch)
endif()
