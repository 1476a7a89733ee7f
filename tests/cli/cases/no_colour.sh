# Colour on terminals only, and never with NO_COLOR.
on_terminal "'$LEMMA' rnu" | od -c | head -n 1
NO_COLOR=1 on_terminal "'$LEMMA' rnu" | head -n 1 | tr -d '\r'
TERM=dumb on_terminal "'$LEMMA' rnu" | head -n 1 | tr -d '\r'
try rnu
