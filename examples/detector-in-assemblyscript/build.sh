#!/usr/bin/env bash
# Builds the detector: build.sh OUT.wasm. It needs asc, of npm's package assemblyscript, in the PATH.
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"

# The stub runtime has no garbage collector, and no import is left for what would abort.
asc "$here/zscore.ts" --runtime stub --use abort= -O -o "$1.bare"
python3 "$here/../add_manifest.py" "$1.bare" "$here/../detector-in-c/zscore.json" "$1"
rm "$1.bare"
