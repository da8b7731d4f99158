#!/bin/sh
# From nothing to training data: tools/corpus/build.sh tiny|full FATHOM FOLDER
#
#   tiny   instructions of sixteen families, without any download: seconds
#   full   Python source from Debian packages (130 MB of downloads) and all instructions: minutes
#
# Writes into FOLDER tokenizer.json, the shards that configs/tiny.toml and configs/shipped.toml name, and the tasks of
# `fathom eval` (instructions/eval). The downloads are kept.
set -eu
kind=$1 fathom=$2 out=$3
here=$(dirname "$0")
mkdir -p "$out"

instructions() { python3 "$here/instructions/generate.py" "$out/instructions" "$@"; }
chat() { "$fathom" data chat --tokenizer "$out/tokenizer.json" -n 513 -o "$out/$1.shard" "$2"; }

case $kind in
tiny)
    instructions --n 8000 --families add,multiply,is_even,factorial,fibonacci,is_prime,sum_list,max_list,reverse_string,count_vowels,is_palindrome,remove_duplicates,square,maximum,count_words,average_list
    "$fathom" data tokenizer --vocab 1024 -o "$out/tokenizer.json" "$out/instructions/train.jsonl"
    ;;
full)
    [ -s "$out/corpus/manifest.json" ] || python3 "$here/python_source.py" "$out/corpus"
    instructions
    "$fathom" data tokenizer --vocab 4096 -o "$out/tokenizer.json" "$out/corpus/python.jsonl" "$out/instructions/train.jsonl"
    "$fathom" data text --tokenizer "$out/tokenizer.json" --fim 25 -o "$out/python.shard" "$out/corpus/python.jsonl"
    "$fathom" data text --tokenizer "$out/tokenizer.json" -o "$out/python-held-out.shard" "$out/corpus/python-held-out.jsonl"
    ;;
*)
    echo "build.sh: tiny or full, not $kind" >&2
    exit 2
    ;;
esac
chat chat "$out/instructions/train.jsonl"
chat chat-held-out "$out/instructions/dev.jsonl"
