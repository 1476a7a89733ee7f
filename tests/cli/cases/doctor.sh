"$LEMMA" doctor | grep -oE '^(version|cpu|cores|threads|memory|bandwidth|backends|isa|state|config.path) ' | sort
"$LEMMA" doctor --json | grep -oE '^  "[a-z_]+"' | sort
