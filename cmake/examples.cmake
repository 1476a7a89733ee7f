# examples/X.c are built against the shared library, as a user's program is, and
# run by tests/cli.
file(GLOB LM_EXAMPLES CONFIGURE_DEPENDS examples/*.c)
foreach(source ${LM_EXAMPLES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(example_${name} ${source})
  target_compile_options(example_${name} PRIVATE -Wall -Wextra -Wpedantic ${LM_SAN})
  target_link_libraries(example_${name} PRIVATE lemma)
endforeach()
