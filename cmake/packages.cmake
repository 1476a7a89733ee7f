# Debian packages; `make deps` installs them (scripts/deps.sh has the list).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LM_DEP REQUIRED IMPORTED_TARGET
  jansson libpcre2-8 libutf8proc libcrypto libxxhash sqlite3 libzstd)
pkg_check_modules(LM_DEP_CLI REQUIRED IMPORTED_TARGET libedit inih)
set(LM_LIBRARIES PkgConfig::LM_DEP Threads::Threads m)
set(LM_CLI_LIBRARIES PkgConfig::LM_DEP_CLI)
