#!/bin/sh
# Installs the Debian packages that lemma is built with, those that are missing
# only.  --check installs nothing and says what is missing (status 0 all the same:
# the build says more).  Works as root or not; needs nothing when nothing is missing.
set -u

# package:what shows that it is there (a program, or a pkg-config name after pc:)
need="gcc:gcc cmake:cmake ninja-build:ninja pkg-config:pkg-config make:make
libjansson-dev:pc:jansson libpcre2-dev:pc:libpcre2-8 libutf8proc-dev:pc:libutf8proc
libssl-dev:pc:libcrypto libxxhash-dev:pc:libxxhash libsqlite3-dev:pc:sqlite3 libzstd-dev:pc:libzstd libedit-dev:pc:libedit
libinih-dev:pc:inih libcmocka-dev:pc:cmocka scdoc:scdoc"
# --cross: what runs the kernels of 64-bit ARM in the tests (some 200 MB; without it
# that test is skipped).
if [ "${1:-}" = --cross ]; then
    need="gcc-aarch64-linux-gnu:aarch64-linux-gnu-gcc qemu-user:qemu-aarch64
libc6-dev-arm64-cross:file:/usr/aarch64-linux-gnu/include/stdio.h"
fi

there() {
    case $1 in
    pc:*) command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    file:*) [ -e "${1#file:}" ] ;;
    gcc) command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=""
for item in $need; do
    there "${item#*:}" || missing="$missing ${item%%:*}"
done
missing=${missing# }

if [ -z "$missing" ]; then
    [ "${1:-}" = --check ] || echo "deps: everything is installed"
    exit 0
fi
if [ "${1:-}" = --check ]; then
    echo "deps: missing: $missing"
    echo "deps: 'make deps' installs them on Debian and Ubuntu"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: this is no Debian; by their Debian names, lemma still needs:"
    for p in $missing; do echo "  $p"; done
    echo "deps: install what your distribution calls them, then run make again"
    exit 1
fi

sudo=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "deps: not root and no sudo; ask an administrator for: apt-get install $missing"
        exit 1
    fi
    sudo="sudo"
fi
echo "deps: installing with apt: $missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is meant to be split
install() { $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1; }
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
if ! install; then
    echo "deps: reading the package lists"
    if ! $sudo apt-get update >"$log" 2>&1 || ! install; then
        tail -n 5 "$log"
        echo "deps: apt could not install: $missing (no network?)"
        exit 1
    fi
fi
echo "deps: done"
