#!/usr/bin/env bash
# First names to gender, letter by letter, three seeds.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}
out=${1:-name_gender}
python "$(dirname "$0")/measure.py" "$data" "$out"
