# Control characters of a text are exact in a pipe and spelled out on a terminal.
printf 'a\033[31mb\007\177\302\233c\td\n' >text
"$LEMMA" tokenize "$FABLE" --no-special <text >ids
"$LEMMA" tokenize "$FABLE" --decode <ids | cmp - text && echo exact
on_terminal "'$LEMMA' tokenize '$FABLE' --decode <ids" | tr -d '\r'
printf '{{ m }}' >t.jinja
printf '{"m": "\\u001b]0;title\\u0007 \\u009b31m"}' >context.json
on_terminal "'$LEMMA' template t.jinja --context context.json" | tr -d '\r'; echo
on_terminal "'$LEMMA' template t.jinja --context context.json --json" | tr -d '\r'
try template $'no\033[2Jsuch' --context context.json
