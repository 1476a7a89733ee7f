try pack list "$SRC/models" | sed 's/  */ /g'
try pack list "$SRC/models" --json
mkdir empty; try pack list empty
try pack list
try pack list nowhere
try pack inspect "$FABLE" | head -n 12
"$LEMMA" pack inspect "$FABLE" --json | grep -E '"(family|num_layers|valid)"'
try pack check "$FABLE"
"$LEMMA" pack check "$FABLE" --quick --json | grep -E '"(valid|issues|family)"'
try pack inspect nowhere
try pack warm "$FABLE" | sed 's/ in [0-9.]* s.*//'
"$LEMMA" pack warm "$FABLE" --json | grep -E '"bytes"'
try pack warm nowhere
cp -r "$FABLE" broken; truncate -s 1000000 broken/model.safetensors
try pack check broken
try pack inspect broken >/dev/null 2>&1; "$LEMMA" pack check broken --json >check.json; echo $?; grep -c '"code"' check.json
export LEMMA_MODELS=$SRC/models; try pack inspect fable | head -n 2
echo nothing >README.md; try pack inspect README.md; try pack inspect README.md --json >/dev/null 2>&1; "$LEMMA" pack inspect README.md --json >report.json 2>/dev/null; echo $?
