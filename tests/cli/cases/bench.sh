# Shapes, not speeds.
"$LEMMA" bench "$FABLE" -p 16 -n 4 -d 0,8 -r 2 -t 1 --plot plot.svg | sed -E 's/^.*models/models/; s/[0-9]+\.[0-9]+/N/g; s/cpu [a-z0-9]+/cpu ISA/; s/ +/ /g'
"$LEMMA" bench "$FABLE" -p 8 -n 2 -d 0 -r 1 -t 1,2 --json >b.json; tr -d '\n ' <b.json | sed -E 's/:[0-9.e+-]+/:N/g; s/"[^"]*models/"models/; s/"(device|numerics)":"[^"]*"/"\1":S/g'; echo
head -c 4 plot.svg; echo; grep -c '<rect' plot.svg; tail -n 1 plot.svg
"$LEMMA" bench "$SRC/tests/data/golden/llama" -r 1 2>&1 >/dev/null | head -n 1
[ ! -e "$XDG_STATE_HOME/lemma" ] || find "$XDG_STATE_HOME/lemma"
