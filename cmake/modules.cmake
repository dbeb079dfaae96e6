# edgemux_module(FOLDER DEPENDS ...): FOLDER/*.cc becomes the static library of that folder, tests/FOLDER/*_test.cc its
# unit tests (one program), bench/FOLDER/*_bench.cc its benchmarks (one program), tests/fuzz/FOLDER/*_fuzz.cc one fuzz
# target each. Dependencies are other folders or libraries.
add_library(edgemux_options INTERFACE)
target_compile_options(edgemux_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-statement-expression>
  # GNU takes a source file that is compiled together with others for a header.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${CMAKE_UNITY_BUILD}>>:-Wno-subobject-linkage>)
target_include_directories(edgemux_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(edgemux_options INTERFACE EDGEMUX_VERSION="${PROJECT_VERSION}")
target_link_libraries(edgemux_options INTERFACE Threads::Threads)
if(EDGEMUX_SANITIZE)
  add_compile_options(-fsanitize=${EDGEMUX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EDGEMUX_SANITIZE})
endif()
# Most of the code that a request passes through has left the processor's caches when the next one comes, because the kernel
# has had its turn: what is laid out in the order in which it runs is there sooner. What no load reaches is compiled as it
# is without counts, not for size.
if(EDGEMUX_PROFILE STREQUAL "record")
  add_compile_options(-fprofile-generate -fprofile-update=prefer-atomic)
  add_link_options(-fprofile-generate)
elseif(EDGEMUX_PROFILE STREQUAL "use")
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
  add_compile_options(-fprofile-use -fprofile-partial-training -fprofile-correction -Wno-missing-profile)
  add_link_options(-Wno-stringop-overflow)  # fmt's parser of formats, inlined into its callers
endif()

# What a fuzzer sees of a folder's code: in `core`, where the parsers of protocols are, also what bytes are compared with,
# which makes code half as fast; of the rest, whose words the seeds have, which branches it takes; nothing of unit tests.
function(edgemux_watched target folder)
  if(NOT EDGEMUX_FUZZ)
    return()
  elseif(folder MATCHES "^core/")
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  else()
    target_compile_options(${target} PRIVATE -fsanitize-coverage=inline-8bit-counters,pc-table)
  endif()
endfunction()

function(edgemux_target_name folder out)
  string(REPLACE "/" "_" name ${folder})
  set(${out} edgemux_${name} PARENT_SCOPE)
endfunction()

function(edgemux_link target)
  foreach(dep IN LISTS ARGN)
    if(dep MATCHES "::")
      target_link_libraries(${target} PUBLIC ${dep})
    else()
      edgemux_target_name(${dep} name)
      target_link_libraries(${target} PUBLIC ${name})
    endif()
  endforeach()
endfunction()

# The release and sanitizer presets compile the files of a folder together, eight or sixteen at a time (CMAKE_UNITY_BUILD): most of a
# compile is headers. So names in anonymous namespaces differ within a folder, but for files that stand alone.
set(EDGEMUX_ALONE config/schema.cc core/io/peer_window.cc)

function(edgemux_module folder)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  edgemux_target_name(${folder} target)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")  # the program's own
  if(NOT sources)  # a folder of headers only
    set(sources ${CMAKE_BINARY_DIR}/${target}.cc)
    file(WRITE ${sources} "")
  endif()
  add_library(${target} STATIC ${sources})
  foreach(source IN LISTS EDGEMUX_ALONE)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endforeach()
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${target} PUBLIC edgemux_options)
  if(EDGEMUX_SANITIZE AND folder MATCHES "^(admin|cli)$")  # off the data path: quick to build instead
    target_compile_options(${target} PRIVATE -O0)
  endif()
  edgemux_watched(${target} ${folder})
  edgemux_link(${target} ${ARG_DEPENDS})

  if(EDGEMUX_TESTS)
    file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*_test.cc)
    if(tests)
      find_package(GTest REQUIRED)
      add_executable(${target}_test ${tests})
      target_link_libraries(${target}_test PRIVATE ${target} GTest::gmock GTest::gtest_main)
      if(folder STREQUAL "core/http")
        target_link_libraries(${target}_test PRIVATE dep::llhttp)
      endif()
      # Tests are half of all code and what they do is quick enough as it stands: optimising it is most of what building costs.
      target_compile_options(${target}_test PRIVATE -O0)
      # Only where it is used: an absolute path keeps ccache from sharing the object between clones.
      foreach(source IN LISTS tests)
        file(STRINGS ${source} uses REGEX EDGEMUX_SOURCE_DIR LIMIT_COUNT 1)
        if(uses)
          set_source_files_properties(${source} PROPERTIES COMPILE_DEFINITIONS EDGEMUX_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
        endif()
      endforeach()
      set_property(GLOBAL APPEND PROPERTY EDGEMUX_UNIT_TESTS ${target}_test)
    endif()
  endif()
  if(EDGEMUX_BENCH)
    file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/${folder}/*_bench.cc)
    if(benches)
      find_package(benchmark REQUIRED)
      add_executable(${target}_bench ${benches})
      target_link_libraries(${target}_bench PRIVATE ${target} benchmark::benchmark_main)
      if(folder STREQUAL "core/http")
        target_link_libraries(${target}_bench PRIVATE dep::llhttp)
      endif()
    endif()
  endif()
  if(EDGEMUX_FUZZ)
    file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/${folder}/*_fuzz.cc)
    foreach(source IN LISTS fuzzers)
      get_filename_component(name ${source} NAME_WE)
      add_executable(${name} ${source})
      target_link_libraries(${name} PRIVATE ${target})
      edgemux_watched(${name} ${folder})
      target_link_options(${name} PRIVATE -fsanitize=fuzzer)
      set_property(GLOBAL APPEND PROPERTY EDGEMUX_FUZZ_TARGETS ${name})
      if(folder STREQUAL "core/http")
        target_link_libraries(${name} PRIVATE dep::llhttp)
      endif()
    endforeach()
  endif()
endfunction()
