"$LEMMA" doctor | grep -oE '^(version|cpu|cores|threads|memory|bandwidth|backends|isa|state|config.path|packs) ' | sort
"$LEMMA" doctor --json | grep -oE '^  "[a-z_]+"' | sort
# What is missing, and what to do; nothing with a pack.
"$LEMMA" doctor | grep -E 'no model was found|lemma/models' | sed 's/  */ /g'
"$LEMMA" doctor --json | tr -d '\n ' | grep -oE '"packs":[0-9]+|"path":"[^"]*/lemma/models","kind":"lemma","exists":false'
LEMMA_MODELS=$SRC/models "$LEMMA" doctor | grep -E '^(packs|no model) ' | sed 's/  */ /g'
