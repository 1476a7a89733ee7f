printf '{"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true}' >context.json
try template "$FABLE" --context context.json
"$LEMMA" template "$FABLE" --context - <context.json | cmp - <("$LEMMA" template "$FABLE" --context context.json) && echo same
"$LEMMA" template "$FABLE/chat_template.jinja" --context context.json | tail -n 1
printf '{{ strftime_now("%%Y-%%m-%%d %%H:%%M") }}' >now.jinja
for now in 2024-07-26T12:00:00Z 2024-07-26 2024-02-29T23:59:59+01:00 1969-12-31T23:59:00Z; do
    try template now.jinja --context context.json --now "$now"; echo
done
try template now.jinja --context context.json --now yesterday
try template now.jinja --context context.json --now 2024-02-30x
try template now.jinja --context nowhere.json
try template nowhere.jinja --context context.json
printf '[' >broken.json; try template now.jinja --context broken.json
printf '{{ raise_exception("no") }}' >bad.jinja; try template bad.jinja --context context.json
printf '{%% for' >bad.jinja; try template bad.jinja --context context.json
