# What does not fit is said with both numbers; the conversation goes on.
printf '%s\n' "Hi" "A much longer question that will not fit into what is left of the context, word after word after word" "/undo" "Hi" |
    "$LEMMA" chat "$FABLE" --backend ref --greedy -n 8 -c 32 2>&1
