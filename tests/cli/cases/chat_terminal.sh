# On a terminal: ctrl-C while typing drops the line, a paste of several lines is
# one message, ctrl-C stops an answer and keeps what there is of it.
command -v script >/dev/null 2>&1 || { echo "skipped: script(1) is missing"; exit 77; }
mkfifo keys
export XDG_STATE_HOME=$PWD/state
script -qefc "'$LEMMA' chat '$FABLE' --backend ref --greedy -n 3" seen <keys >/dev/null 2>&1 &
exec 3>keys
wait_for() { for _ in $(seq 200); do [ "$(grep -cF "$1" seen 2>/dev/null || true)" -ge "$2" ] 2>/dev/null && return; sleep 0.05; done; echo "never saw: $1"; cat seen; }
# Every prompt switches bracketed paste on just before it is shown.
prompt=$(printf '\033[?2004h')
wait_for "$prompt" 1
printf 'this is dropped\003' >&3; wait_for "^C (ctrl-D leaves)" 1
printf '\033[200~one\ntwo\nthree\033[201~ and four\r' >&3; wait_for "[paste 1: 3 lines]" 1
sleep 0.5; printf '/save saved.json\r' >&3; wait_for "2 messages" 1
printf '\004' >&3; exec 3>&-
wait %1; echo "[$?]"
cat saved.json
