#!/usr/bin/env bash
# Spoken digits: a recogniser in both directions, one that streams, and, with a speaker's name, one that has never heard
# that speaker. The folder to write comes first, then a speaker or nothing.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/spoken_digits/recordings.tar.gz
out=${1:-speech_digits}
speaker=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
python "$here/strings.py" "$data" "$out" $speaker
python "$here/measure.py" --numbers "$out/numbers.txt"
[ -d "$out/numbers" ] || ostinato train "$out/numbers.txt" --level char --hidden 64 --steps 300 --threads 1 -o "$out/numbers"
train() {
    ostinato train "$out/train.tsv" --task transcribe --valid "$out/valid.tsv" --test "$out/test.tsv" \
        --config "$here/config.toml" --threads 1 "$@"
}
# A stranger has a microphone of his own, and it may be far away.
if [ -n "$speaker" ]; then more=(--eq 4 --loudness 24); else more=(--steps 8000); fi
train -o "$out/both" "${more[@]}"
OMP_NUM_THREADS=1 python "$here/measure.py" "$out/both" "$out" "$out/numbers"
[ -n "$speaker" ] && exit
train -o "$out/forward" --no-bidirectional
OMP_NUM_THREADS=1 python "$here/measure.py" "$out/forward" "$out" "$out/numbers"
