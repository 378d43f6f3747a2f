# Everything the project stands on. scripts/setup installs what is missing here.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(Boost REQUIRED)
if(LEVIN_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_package(nlohmann_json REQUIRED)
endif()

if(LEVIN_WITH_TORCH)
  include(LevinTorch)
endif()
