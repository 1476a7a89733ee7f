# bench/ladder/NAME.c becomes bench_NAME; outside the default build (LM_BENCH).
file(GLOB LM_BENCH_SOURCES CONFIGURE_DEPENDS bench/ladder/*.c)
foreach(source ${LM_BENCH_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(bench_${name} ${source})
  lm_target_defaults(bench_${name})
  target_link_libraries(bench_${name} PRIVATE lemma_static)
endforeach()
