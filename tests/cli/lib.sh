# What the cases share (tests/cli/run.sh).

# Runs the program: command, what it prints on both streams, status when not 0.
try() {
    local shown=$*
    echo "\$ lemma ${shown//$FABLE/FABLE}"
    "$LEMMA" "$@" 2>&1
    local status=$?
    [ $status = 0 ] || echo "[$status]"
}

# Numbers that differ from run to run.
without_times() { sed -E 's/("[a-z_]*(_ms|_bytes)": )[0-9.e+-]+/\1T/; s/[0-9.]+ (ms|MiB|GiB)/T \1/g; s|[0-9.]+/s|T/s|g'; }

# Runs a command whose standard output (and error) is a terminal.
on_terminal() {
    command -v script >/dev/null 2>&1 || { echo "skipped: script(1) is missing"; exit 77; }
    script -qec "$1" /dev/null
}
