# Prepared copies: made, listed, used with the same result, removed; stale and damaged ones.
cp "$SRC/tests/data/golden/llama-Q4_0.gguf" own.gguf
sizes() { sed -E 's/[0-9.]+ ([KM]iB)/N \1/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}/DATE/; s/  */ /g'; }
try prepare --list
try prepare own.gguf | sizes
try prepare own.gguf | sizes
try prepare --list | sizes
"$LEMMA" prepare --list --json | grep -oE '"(folder|path|pack|bytes|created|used|state)"' | sort | uniq -c | sed 's/^ *//'
"$LEMMA" pack inspect own.gguf | grep -E '^prepared.state' | sed 's/  */ /g'
"$LEMMA" doctor | grep -E '^prepared.copies' | sed 's/  */ /g'
"$LEMMA" logits own.gguf --tokens 1,2,3,4,5,6 -o with.npy
"$LEMMA" logits own.gguf --tokens 1,2,3,4,5,6 -o without.npy --no-prepared
cmp with.npy without.npy && echo "the same bits"
copy=$(ls "$XDG_CACHE_HOME"/lemma/prepared/*.lmprep)
printf 'x' | dd of="$copy" bs=1 seek=40 conv=notrunc 2>/dev/null
try logits own.gguf --tokens 1,2,3,4,5,6 -o damaged.npy; cmp damaged.npy without.npy
touch own.gguf
try prepare own.gguf | sizes
touch own.gguf
try logits own.gguf --tokens 1,2,3,4,5,6 -o stale.npy; cmp stale.npy without.npy
try prepare --remove own.gguf | sizes
try prepare --remove own.gguf
# A copy whose tables say nothing any more is known by its name.
try prepare own.gguf | sizes
printf 'x' | dd of="$copy" bs=1 seek=4100 conv=notrunc 2>/dev/null
try prepare --list | sed "s|prep-.*lmprep|COPY|" | sizes
try prepare --remove own.gguf | sizes
# Files that may not grow: an error, and nothing is left.
(ulimit -f 16; try prepare own.gguf)
ls -A "$XDG_CACHE_HOME/lemma/prepared"
try prepare --remove --all | sizes
try prepare own.gguf --prepared-budget 1K
try prepare own.gguf --prepared-budget much
(XDG_CACHE_HOME=/proc/none try prepare own.gguf)
try prepare --all
try prepare --list --remove
try prepare "$SRC/tests/data/golden/qwen3" | sed "s|$SRC|SRC|"
ls -A "$XDG_CACHE_HOME/lemma/prepared"
