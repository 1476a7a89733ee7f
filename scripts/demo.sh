#!/bin/sh
# make demo: from a fresh checkout to an answer, and to a second process that remembers.
#
#   PACK=path or name, PROMPT=text choose another model and question.
set -u
cd "$(dirname "$0")/.." || exit 1
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/lemma/models
smollm=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
pack=${PACK:-}
jobs=$(nproc 2>/dev/null || echo 2)

echo "This will, where it is not done yet:"
echo "  1. install the Debian packages that lemma is built with"
echo "  2. build a release in build/"
if [ -n "$pack" ]; then
    echo "  3. run $pack"
else
    echo "  3. fetch SmolLM2-135M-Instruct (98 MB, Apache-2.0) into $cache"
fi
echo "  4. ask it a question"
echo "  5. let it read a long text once; another process goes on from there"
echo

scripts/deps.sh || exit 1
echo "build: this takes a minute or two the first time"
if [ -t 1 ]; then
    make --no-print-directory all JOBS="$jobs" || exit 1 # ninja shows how far it is
elif ! out=$(make --no-print-directory all JOBS="$jobs" 2>&1); then
    echo "$out"
    exit 1
fi
echo "build: build/lemma is ready"

if [ -z "$pack" ]; then
    if scripts/models.sh smollm2; then
        pack=$smollm
        prompt="What is a lemma in mathematics? Answer in two sentences."
    else
        echo "demo: no model could be fetched; running the small one that ships with lemma,"
        echo "demo: which only tells fairy tales"
        pack=models/fable
        DEMO_BYTES=2500 # its context is short
        export DEMO_BYTES
        prompt="Tell me a story called The Golden Apple."
    fi
else
    prompt="Tell me a story called The Golden Apple."
fi
prompt=${PROMPT:-$prompt}

echo
echo "> $prompt"
echo
build/lemma run "$pack" -n 300 --timings --seed 1 -- "$prompt"
status=$?
echo
if [ $status = 0 ]; then
    scripts/demo_memory.sh build/lemma "$pack"
    status=$?
    echo
fi
if [ $status = 0 ]; then
    echo "Next: build/lemma chat $pack"
fi
exit $status
