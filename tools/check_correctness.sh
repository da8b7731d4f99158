#!/bin/sh
# The correctness figures against implementations nobody here wrote: logits and token ids of the real SmolLM2, logits
# of random DeepSeek V4 models.
# Fetches what it needs; says SKIP for what is absent. Exits 1 when a figure misses its bound.
set -u
cd "$(dirname "$0")/.." || exit 1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
failed=0

model=$(build/fathom fetch smollm2) || exit 1
for python in python3 /usr/bin/python3; do
    $python -c 'import numpy' 2>/dev/null && break
done
echo "logits of $(basename "$model"):"
$python tools/golden/check_logits.py --model "$model" "$@" || failed=1

echo "token ids:"
if [ ! -x "$cache/tokenizers/venv/bin/python" ] && command -v npm >/dev/null; then
    echo "      fetching the reference libraries into $cache/tokenizers"
    mkdir -p build-logs
    python3 tools/golden/compare_tokenizers.py --install >build-logs/tokenizers.log 2>&1 ||
        echo "      not all could be fetched; read $PWD/build-logs/tokenizers.log"
fi
if [ -x "$cache/tokenizers/venv/bin/python" ]; then
    if python3 tools/golden/compare_tokenizers.py --gguf "$model"; then
        echo "PASS  token ids are those of the reference libraries"
    else
        echo "FAIL  token ids differ from the reference libraries"
        failed=1
    fi
else
    echo "SKIP  the reference libraries need npm and python3-venv: apt-get install npm python3-venv"
fi

echo "DeepSeek V4:"
if [ ! -d "$cache/llamacpp/node_modules" ] && command -v npm >/dev/null; then
    echo "      fetching llama.cpp into $cache/llamacpp"
    mkdir -p build-logs
    python3 tools/golden/compare_v4_llamacpp.py --install >build-logs/llamacpp.log 2>&1 ||
        echo "      not all could be fetched; read $PWD/build-logs/llamacpp.log"
fi
python3 tools/golden/compare_v4_llamacpp.py
case $? in 0 | 77) ;; *) failed=1 ;; esac
exit $failed
