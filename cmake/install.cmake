# make install: program, shared library, headers, pkg-config, man pages, completion.
set_target_properties(lemma PROPERTIES BUILD_RPATH_USE_ORIGIN ON)
install(TARGETS lemma LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/lemma DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
configure_file(cmake/lemma.pc.in lemma.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/lemma.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET lemma_program)
  install(TARGETS lemma_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
