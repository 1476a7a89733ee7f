# What 'lemma state' does besides listing: sleep, wake, fold, recode, bundles, housekeeping.
state() { echo "\$ lemma state $*"; "$LEMMA" state "$@" --backend ref --state-dir here 2>&1; local s=$?; [ $s = 0 ] || echo "[$s]"; }
plain_state() { echo "\$ lemma state $*"; "$LEMMA" state "$@" --state-dir here 2>&1; local s=$?; [ $s = 0 ] || echo "[$s]"; }
figures() { grep -E '"(tokens|mounted_tokens|computed_tokens|pages_written|sessions|bad_pages|verified|sessions_removed|kept_pages|parent|tail)"'; }
mkdir -m 700 here
head -c 900 "$SRC/README.md" >text
state sleep tale -f text -m "$FABLE" --json | figures
state sleep tale -f text -m "$FABLE" | sed 's|/.*/fable|FABLE|'
state sleep ids --tokens 1,2,3 -m "$FABLE" --json | figures
state wake tale -m "$FABLE" --json | figures
state wake tale -m "$FABLE" --at 70 --json | figures
# Another cache format: a session of its own, which says so.
plain_state recode tale small --kv q8 --json | figures
"$LEMMA" state show small --state-dir here | grep -E '^(kv|recoded|alone|parent)'
plain_state recode tale small2 --kv f32
# To another machine: goes on there without a prefill, and serves itself alone until verified.
plain_state export tale tale.lemma --json | figures
plain_state export tale tale.lemma
plain_state import tale.lemma
"$LEMMA" state import tale.lemma --state-dir there --json | figures
"$LEMMA" run "$FABLE" --backend ref --state-dir there --session tale -n 1 --json | grep -E '"(prompt|cached)_tokens"'
"$LEMMA" run "$FABLE" --backend ref --state-dir there -f text -n 1 --json 2>/dev/null | grep -E '"(prompt|cached)_tokens"'
"$LEMMA" state import tale.lemma trusted --verify -m "$FABLE" --backend ref --state-dir there2 --json | figures
"$LEMMA" run "$FABLE" --backend ref --state-dir there2 -f text -n 1 --json 2>/dev/null | grep -E '"(prompt|cached)_tokens"'
# A fold: the summary and the end; the old one stays.
echo "A readme, in short." >summary
state fold tale folded --summary summary -m "$FABLE" --tail 50 --json | figures
"$LEMMA" state show folded --state-dir here | grep -E '^(parent|folded)'
# A bundle that is none.
for f in "$SRC"/tests/bad/bundle/*; do
    plain_state import "$f" | sed "s|$SRC/||"
done
# Housekeeping.
plain_state stats --json | figures
plain_state fsck --json | figures
big=$(ls -S here/runs/* | head -1)
printf 'XYZ' | dd of="$big" bs=1 seek=$(($(stat -c %s "$big") / 2)) conv=notrunc status=none
plain_state fsck | grep -vE '^(runs|pages|missing)'
rm -f here/index.db*
plain_state fsck --rebuild --json 2>/dev/null | figures
# A damaged session is told, is not written over, and goes with the rest.
printf 'X' | dd of="$(ls here/entries/* | head -1)" bs=1 seek=100 conv=notrunc status=none
plain_state fsck 2>&1 | grep -E '^(bad_sessions|lemma: an entry)'
plain_state clear
plain_state clear --older soon
plain_state clear --older 3d --json | figures
echo "what was typed" >here/chat_history
plain_state clear --older 3d --json | figures; ls here/chat_history
plain_state clear --all --json | figures
plain_state ls
ls here here/runs here/entries
# Refused.
plain_state show tale --at 3
plain_state ls -m x
plain_state wake tale
plain_state fold a b
plain_state import tale.lemma --verify
plain_state recode a b
# The figures of SPEC 9.3, as lines and as JSON.
plain_state sleep short --tokens 5,6,7,8,9,10,11,12 -m "$FABLE" --backend ref >/dev/null
plain_state analyse short | head -3 | cut -d' ' -f1
plain_state analyse short --json | grep -cE '"(analysis|sami)"'
# Labels, and other formats; a session that goes on keeps its labels.
plain_state sleep tagged --tokens 5,6,7,8 --label project=fox --label kind=note -m "$FABLE" --backend ref >/dev/null
"$LEMMA" run "$FABLE" --backend ref --state-dir here --session tagged --label kind=tale -n 1 >/dev/null
for l in project project=fox kind=note kind=tale other; do
    echo "$l: $("$LEMMA" state ls --state-dir here --json --label $l | grep '"name"' | tr -d ' ,')"
done
"$LEMMA" state ls --state-dir here --label kind --label project=none 2>&1
"$LEMMA" state show tagged --state-dir here --json | grep -A3 '"labels"'
plain_state sleep x --tokens 5 --label kind -m "$FABLE"
plain_state fork tagged untagged --json
plain_state rm untagged --json
for f in snapshot blocks; do
    plain_state export tagged file.$f --format $f --json | grep '"tokens"'
    plain_state export tagged file.$f --format $f
    plain_state import file.$f
    plain_state import file.$f from-$f -m "$FABLE" --backend ref --json | grep '"tokens"'
    "$LEMMA" state wake from-$f -m "$FABLE" --backend ref --state-dir here --json | figures
done
ls
plain_state export tagged file --format tar
plain_state ls --format bundle
