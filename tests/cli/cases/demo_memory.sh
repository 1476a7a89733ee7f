# make demo's second half, with the pack that ships; times vary, the form does not.
DEMO_BYTES=900 "$SRC/scripts/demo_memory.sh" "$LEMMA" "$FABLE" | sed -E 's/[0-9.]+ ms/N ms/g; s/[0-9]+ (tokens|computed)/N \1/g; s/: [0-9.]+ times/: N times/' | grep -v '^ *$' | sed '5s/.*/   TEXT/'
