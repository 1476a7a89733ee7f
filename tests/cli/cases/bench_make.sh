# What it asks for before it writes hundreds of megabytes.
try bench make
try bench make qwen3-0.6b --format q4_0
try bench make qwen3-0.6b -o x.gguf
try bench make acorn-1b --format q4_0 -o x.gguf
try bench make qwen3-0.6b --format q4_9 -o x.gguf
try bench make qwen3-0.6b --format q4_0 -o folder
try bench make qwen3-0.6b --format q4_0 -o nowhere/x.gguf
: >there.gguf; try bench make qwen3-0.6b --format q4_0 -o there.gguf
try bench make qwen3-0.6b more --format q4_0 -o x.gguf
try bench "$FABLE" -o x.gguf
# Where writing fails nothing is left, so that the same command may be given again.
for to in "affine4-g64-bf16 -o folder" "q4_0 -o x.gguf"; do (ulimit -f 4000; try bench make qwen3-0.6b --format $to); done
ls
ls
