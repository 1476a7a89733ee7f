# libFuzzer targets, clang only: build/fuzz/fuzz_NAME tests/fuzz/corpus/NAME
file(GLOB LM_FUZZ_SOURCES CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(source ${LM_FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  lm_target_defaults(${name})
  target_link_libraries(${name} PRIVATE lemma_static)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endforeach()
