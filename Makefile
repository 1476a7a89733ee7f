# Shortcuts over CMake and Ninja (CMakePresets.json).
#
#   make            build/lemma, a release build
#   make demo       from a fresh machine to an answer; PACK= and PROMPT= choose
#   make test       everything that can be tested here
#   make models     fetch two real models that the tests and the demo use
#   make deps       install the Debian packages that are missing
#   make deps-cross  those that test the kernels of 64-bit ARM (optional)
#   make install    honours DESTDIR and prefix; make uninstall takes it back
#   make test-crash a thousand kills of the store, some minutes
#   make deb        Debian packages in build/deb, checked with lintian
#   make asan|ubsan|tsan|fuzz    the tests in that build
#   make format|lint|clean
prefix ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CMAKE ?= cmake
# Warnings end the build where we can see to it (.ci/run), not on a user's compiler.
WERROR ?= OFF
export PACK PROMPT

.PHONY: all demo test test-crash deb models deps deps-cross install uninstall clean asan ubsan tsan fuzz format lint

all: build/build.ninja
	@$(CMAKE) --build build -j $(JOBS) --target lemma_program lemma_docs

build/build.ninja:
	@scripts/deps.sh --check
	@$(CMAKE) --preset release -DCMAKE_INSTALL_PREFIX=$(prefix) -DLM_WERROR=$(WERROR)

demo:
	@scripts/demo.sh

deps:
	@scripts/deps.sh

deps-cross:
	@scripts/deps.sh --cross

models:
	@scripts/models.sh

test: build/build.ninja
	@$(CMAKE) --build build -j $(JOBS)
	@scripts/test.sh build

test-crash: build/build.ninja
	@$(CMAKE) --build build -j $(JOBS) --target test_store_faults
	@LM_CRASH_KILLS=$(or $(KILLS),1100) build/test_store_faults

deb:
	@JOBS=$(JOBS) scripts/deb.sh

# The program is linked again where another prefix changes where it looks for the library.
install: build/build.ninja
	@$(CMAKE) -DCMAKE_INSTALL_PREFIX=$(prefix) build >/dev/null
	@$(CMAKE) --build build -j $(JOBS) --target lemma_program lemma_docs
	@DESTDIR=$(DESTDIR) $(CMAKE) --install build

# What `make install` wrote, and folders of lemma's own that are empty then.
uninstall:
	@test -f build/install_manifest.txt || { echo "make uninstall: build/install_manifest.txt is missing" >&2; exit 1; }
	@while read -r file || [ -n "$$file" ]; do rm -f "$(DESTDIR)$$file"; done < build/install_manifest.txt
	@sed -n 's|\(.*/lemma\)/[^/]*$$|\1|p' build/install_manifest.txt | sort -u | \
	    while read -r folder; do rmdir "$(DESTDIR)$$folder" 2>/dev/null || true; done

asan ubsan tsan:
	@$(CMAKE) --preset $@ >/dev/null
	@$(CMAKE) --build build/$@ -j $(JOBS)
	@scripts/test.sh build/$@

# SECONDS_EACH of fuzzing for every target, beginning with its corpus.
fuzz:
	@$(CMAKE) --preset fuzz -DLM_BUILD_TESTS=OFF >/dev/null
	@$(CMAKE) --build build/fuzz -j $(JOBS)
	@scripts/fuzz.sh build/fuzz $(or $(SECONDS_EACH),60)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

lint:
	@git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
	@tests/house/run.sh build/lemma .

clean:
	@rm -rf build
