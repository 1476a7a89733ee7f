# make install: program, shared library, headers, pkg-config, man pages, completion.
set_target_properties(lemma PROPERTIES BUILD_RPATH_USE_ORIGIN ON)
install(TARGETS lemma LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/lemma DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
configure_file(cmake/lemma.pc.in lemma.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/lemma.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET lemma_program)
  # The program finds the library that was installed beside it, wherever that is;
  # under /usr the system's loader knows.
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    file(RELATIVE_PATH LM_LIB_FROM_BIN ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(lemma_program PROPERTIES INSTALL_RPATH "$ORIGIN/${LM_LIB_FROM_BIN}")
  endif()
  install(TARGETS lemma_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  include(cmake/docs.cmake)
  install(FILES ${LM_MAN_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${CMAKE_BINARY_DIR}/completion/lemma.bash
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME lemma)
  install(FILES ${CMAKE_BINARY_DIR}/completion/lemma.zsh
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions RENAME _lemma)
  install(FILES ${CMAKE_BINARY_DIR}/completion/lemma.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME lemma.fish)
  install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
endif()
