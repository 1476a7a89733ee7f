# examples/remember.c: the text is read by the first process alone.
[ -x "$BUILD/example_remember" ] || { echo "skipped: the examples are not built"; exit 77; }
export XDG_STATE_HOME=$PWD/state
for i in $(seq 20); do echo "There was a fox called $i, who lived by the sea."; done >tale
"$BUILD/example_remember" "$FABLE" tale "Once" | tail -n 1 | sed -E 's/^[0-9]{3,}/N/'
"$BUILD/example_remember" "$FABLE" tale "Once" | tail -n 1 | sed -E 's/[0-9]{3,}/N/'
"$LEMMA" state ls | grep -o "projects/example/seed"
"$BUILD/example_remember" nowhere tale "Once" 2>&1; echo "[$?]"
