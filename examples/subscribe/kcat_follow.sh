#!/usr/bin/env bash
# Print everything on one route as it comes: kcat_follow.sh [HOST:PORT [TOPIC [GROUP]]]
set -euo pipefail

kcat -b "${1:-127.0.0.1:9092}" -G "${3:-my-team}" -u -q -J \
  -X isolation.level=read_committed -X auto.offset.reset=earliest "${2:-news.china-dprk}" |
  jq --unbuffered -r '
    ([.headers | range(0; length; 2) as $i | {(.[$i]): .[$i + 1]}] | add) as $h
    | select($h.reprocessed == null)          # made by a replay: you had it before
    | "\($h.kind) \($h.version) \(.key)",
      (select($h.kind != "unrouted") | .payload | fromjson
       | {title: (.headlines[0].value // ""), body: (.bodies[0].value // "")} as $texts
       | .dateline.evidence[]                 # jq counts code points, as the offsets do
       | "  \(.tag) \(.field) \($texts[.field][.start:.end])")'
