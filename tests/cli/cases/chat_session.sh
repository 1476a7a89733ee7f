# A conversation goes on in another process, where it stopped; a second one is refused.
export XDG_STATE_HOME=$PWD/state
talk() { "$LEMMA" chat "$FABLE" --backend ref --greedy -n 12 "$@" 2>&1; }
printf 'Tell me a story.\nAnd then?\n' | talk --no-state >whole
printf 'Tell me a story.\n' | talk --session tale >first
printf 'And then?\n' | talk --session tale >second
head -1 second; grep -v '^(session' second | cat first - | cmp - whole && echo "one conversation"
"$LEMMA" state ls | sed -E 's/ +[0-9TZ:-]{20}$/  DATE/; s/ +CREATED/  CREATED/'
"$LEMMA" state show tale --json | grep '"title"'
# One question with run is a turn of it; without one the answer goes on.
"$LEMMA" run "$FABLE" --backend ref --greedy -n 3 --session tale "Why?" >/dev/null
"$LEMMA" run "$FABLE" --backend ref --greedy -n 3 --session tale >/dev/null
printf '/save all.json\n' | talk --session tale | head -1
grep -c '"role"' all.json
# /undo is kept too.
printf '/undo\n' | talk --session tale >/dev/null
printf '/save all.json\n' | talk --session tale | head -1
# Held by one process at a time.
mkfifo in
(talk --session tale <in >held) 2>/dev/null &
holder=$!
exec 3>in
printf 'Hi\n' >&3
for i in $(seq 100); do grep -q goes held 2>/dev/null && [ -s held ] && break; sleep 0.05; done
printf 'Hello\n' | talk --session tale | sed -E 's/process [0-9]+/process PID/'
# kill -9 after the answer: nothing but what comes next is lost.
for i in $(seq 200); do [ "$(wc -l <held)" -ge 2 ] && break; sleep 0.05; done
sleep 0.3
pid=$(ps -o pid= --ppid $holder | head -1)
kill -9 ${pid:-$holder} 2>/dev/null
exec 3>&-
wait $holder 2>/dev/null
printf '/save all.json\n' | talk --session tale | head -1
# A text is no conversation; state that is off has no sessions.
"$LEMMA" run "$FABLE" --backend ref -n 2 --session text --prompt "Once" >/dev/null
printf 'Hi\n' | talk --session text; echo "[$?]"
printf 'Hi\n' | talk --session tale --no-state; echo "[$?]"
