# Man pages and completion come from the program's own option table; the prose
# of a page is man/VERB.scd.in.
find_program(LM_SCDOC scdoc)
file(GLOB LM_PROSE CONFIGURE_DEPENDS man/*.scd.in)
set(LM_MAN_PAGES "")
set(LM_COMPLETIONS "")
if(CMAKE_CROSSCOMPILING)
  return()
endif()
if(LM_SCDOC)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/man)
  foreach(prose ${LM_PROSE})
    get_filename_component(verb ${prose} NAME)
    string(REPLACE ".scd.in" "" verb ${verb})
    if(verb STREQUAL "lemma")
      set(page ${CMAKE_BINARY_DIR}/man/lemma.1)
    else()
      set(page ${CMAKE_BINARY_DIR}/man/lemma-${verb}.1)
    endif()
    add_custom_command(OUTPUT ${page}
      COMMAND $<TARGET_FILE:lemma_program> gen man ${verb} ${prose} > ${page}.scd
      COMMAND ${LM_SCDOC} < ${page}.scd > ${page}.raw
      COMMAND awk -f ${CMAKE_SOURCE_DIR}/scripts/manpage.awk ${page}.raw > ${page}
      DEPENDS lemma_program ${prose} ${CMAKE_SOURCE_DIR}/scripts/manpage.awk VERBATIM)
    list(APPEND LM_MAN_PAGES ${page})
  endforeach()
else()
  message(STATUS "scdoc is missing: no man pages")
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/completion)
foreach(shell bash zsh fish)
  set(file ${CMAKE_BINARY_DIR}/completion/lemma.${shell})
  add_custom_command(OUTPUT ${file}
    COMMAND $<TARGET_FILE:lemma_program> gen completion ${shell} > ${file}
    DEPENDS lemma_program VERBATIM)
  list(APPEND LM_COMPLETIONS ${file})
endforeach()
add_custom_target(lemma_docs ALL DEPENDS ${LM_MAN_PAGES} ${LM_COMPLETIONS})
