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

# Torch headers take half a minute to compile: they are precompiled once, for all targets that ask for them. Reading
# torch/torch.h back still costs eight seconds a file (its templates are instantiated each time), the few headers that
# the library itself needs cost four: there are two.
function(levin_torch_header name)
  add_library(levin_${name}_header OBJECT ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/torch_header.cpp)
  target_compile_features(levin_${name}_header PRIVATE cxx_std_20)
  target_link_libraries(levin_${name}_header PRIVATE torch)
  target_precompile_headers(levin_${name}_header PRIVATE ${ARGN})
endfunction()
levin_torch_header(torch <torch/torch.h>)
levin_torch_header(module <torch/nn/module.h>)

# levin_use_torch_header(<target> torch|module): compiles the target's sources with torch/torch.h or torch/nn/module.h
# precompiled, save those that get by without either: they are compiled faster without it.
function(levin_use_torch_header target header)
  target_precompile_headers(${target} REUSE_FROM levin_${header}_header)
  # The header serves only code compiled with the same flags.
  set_target_properties(${target} PROPERTIES DEFINE_SYMBOL "" POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
  get_target_property(sources ${target} SOURCES)
  foreach(source IN LISTS sources)
    file(STRINGS ${source} heavy LIMIT_COUNT 1
         REGEX "include [<\"](torch/|levin/levin.h|levin/nn/|levin/train/(module|trainer|trainer_impl|checkpoint|summary).h|levin/app/engine/|train/toy.h)")
    if(NOT heavy)
      set_source_files_properties(${source} TARGET_DIRECTORY ${target} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()
