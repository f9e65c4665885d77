#!/usr/bin/env bash
# Print the stories of one pair from a time on until now, and end: kcat_replay.sh TIME [HOST:PORT [TOPIC [PAIR]]]
set -euo pipefail

from=$(date -d "$1" +%s%3N)                   # as 2026-03-01T12:00:00Z, or '2 hours ago'
kcat -b "${2:-127.0.0.1:9092}" -C -t "${3:-news.enriched}" -o "s@$from" -e -q -J -X isolation.level=read_committed |
  jq -r --arg pair "${4:-CN-KP}" '
    ([.headers | range(0; length; 2) as $i | {(.[$i]): .[$i + 1]}] | add) as $h
    | select($h.pairs // "" | split(",") | index($pair))
    | "\($h.kind) \($h.version) \(.key) \(if $h.reprocessed then "again" else "live" end)"'
