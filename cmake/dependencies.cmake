# Every library edgemux stands on, all of them Debian packages (see ./dev packages). Each is reachable under one name,
# dep::NAME, so that a folder's arrows and its libraries are read in one place.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(tl-expected CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)

function(edgemux_pkg name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${ARGN})
  add_library(dep::${name} ALIAS PkgConfig::${name})
endfunction()

edgemux_pkg(uv libuv>=1.44)
edgemux_pkg(cares libcares>=1.18)
edgemux_pkg(openssl openssl>=3.0)
edgemux_pkg(nghttp2 libnghttp2>=1.52)
edgemux_pkg(spdlog spdlog>=1.10)
edgemux_pkg(fyaml libfyaml>=0.7)
edgemux_pkg(re2 re2)
edgemux_pkg(systemd libsystemd>=250)
add_library(dep::cli11 ALIAS CLI11::CLI11)
add_library(dep::json ALIAS nlohmann_json::nlohmann_json)

# Debian ships llhttp as C sources. They are compiled strict; see core/http for what they are used for.
set(LLHTTP_SOURCES /usr/share/llhttp)
set(LLHTTP_INCLUDE /usr/share/include/llhttp)
add_library(llhttp STATIC EXCLUDE_FROM_ALL ${LLHTTP_SOURCES}/api.c ${LLHTTP_SOURCES}/http.c ${LLHTTP_SOURCES}/llhttp.c)
target_include_directories(llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE})
target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
target_compile_options(llhttp PRIVATE -w)
set_target_properties(llhttp PROPERTIES UNITY_BUILD OFF) # C, whose files share names
add_library(dep::llhttp ALIAS llhttp)
