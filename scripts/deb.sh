#!/bin/sh
# make deb: Debian packages of what is committed, built offline and checked with lintian.
# They lie in build/deb/ afterwards.  Needs debhelper, dpkg-dev and lintian.
set -eu
cd "$(dirname "$0")/.."
for tool in dpkg-buildpackage dh lintian; do
    command -v $tool >/dev/null 2>&1 || {
        echo "make deb: $tool is missing: apt-get install debhelper dpkg-dev lintian" >&2
        exit 1
    }
done
version=$(sed -nE '1s/^lemma \(([^)]*)\).*/\1/p' packaging/debian/changelog)
out=build/deb
rm -rf "$out"
mkdir -p "$out/lemma-$version"
git archive HEAD | tar -x -C "$out/lemma-$version"
cp -r packaging/debian "$out/lemma-$version/debian"
# Without a network where the system lets us take it away.
offline=
if unshare -rn true 2>/dev/null; then offline="unshare -rn"; fi
(cd "$out/lemma-$version" && $offline dpkg-buildpackage -us -uc -b -j"${JOBS:-2}") >"$out/build.log" 2>&1 || {
    tail -n 30 "$out/build.log" >&2
    exit 1
}
rm -rf "$out/lemma-$version"
lintian --fail-on error,warning --allow-root "$out"/*.changes
ls -l "$out"/*.deb
