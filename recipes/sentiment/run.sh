#!/usr/bin/env bash
# SST-2, sentences only: from nothing, from a language model of WikiText-2, and with fewer labels.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}
out=${1:-sentiment}
python "$(dirname "$0")/measure.py" "$data" "$out"
