# Each complaint says what to type instead.
try rnu
try tokenise
try frobnicate
try "$FABLE"
try "$FABLE/config.json" hello
try -m "$FABLE"
try --temp 0
try help nothing
try $'bad\033[31mverb'
try ""
