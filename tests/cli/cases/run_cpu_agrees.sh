# The CPU backend and the reference begin alike; threads change nothing at all.
text() { "$LEMMA" run "$FABLE" --greedy -n 8 "Tell me a story called The Golden Apple." "$@"; }
[ "$(text)" = "$(text --backend ref)" ] && echo same
[ "$(text -t 1)" = "$(text -t 2)" ] && echo same
