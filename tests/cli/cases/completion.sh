# The shells that are here accept their file; bash completes from it.
for shell in bash zsh fish; do
    "$LEMMA" gen completion $shell >lemma.$shell || echo "no completion for $shell"
    command -v $shell >/dev/null 2>&1 || continue
    $shell -n lemma.$shell || echo "$shell does not accept it"
done
complete_it() { # words...; the last is being typed
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _lemma 2>/dev/null
    echo "${COMPREPLY[*]}"
}
. ./lemma.bash
complete_it lemma t
complete_it lemma run --top
complete_it lemma run x --kv b
complete_it lemma pack i
complete_it lemma help ver
: >makefile; complete_it lemma bench ma
for verb in run chat pack tokenize template logits perplexity bench doctor help version; do
    for option in $("$LEMMA" help $verb | sed '/^Accepted/,$d' | grep -oE '^ +(-[a-z]+, )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
        grep -q -- "$option" lemma.bash || echo "$verb $option is not completed in bash"
        grep -q -- "$option\[" lemma.zsh || echo "$verb $option is not completed in zsh"
        grep -q -- "from $verb' -l ${option#--}" lemma.fish || echo "$verb $option is not completed in fish"
    done
done
try gen
try gen completion tcsh
try gen man nothing
