# The history is kept where state is kept, for nobody else, and not when state is off.
command -v script >/dev/null 2>&1 || { echo "skipped: script(1) is missing"; exit 77; }
talk() { printf '/help\nHi\n/quit\n' | script -qec "'$LEMMA' chat '$FABLE' --backend ref --greedy -n 2 $*" /dev/null >/dev/null; }
export XDG_STATE_HOME=$PWD/state
talk --no-state; ls "$XDG_STATE_HOME" 2>/dev/null
LEMMA_STATE=off talk; ls "$XDG_STATE_HOME" 2>/dev/null
talk; stat -c '%a' "$XDG_STATE_HOME/lemma/chat_history"; grep -c . "$XDG_STATE_HOME/lemma/chat_history"
talk --state-dir "$PWD/own"; ls own/chat_history
