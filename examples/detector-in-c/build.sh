#!/usr/bin/env bash
# Builds the detector: build.sh OUT.wasm. It needs clang and lld.
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"

# Whole structs are copied by memory.copy; without -mbulk-memory that would be a call of memcpy, which
# nobody has. -fno-math-errno makes a root an instruction. Nothing may be rounded once where the
# source says twice.
clang --target=wasm32 -mbulk-memory -O2 -ffreestanding -fno-math-errno -ffp-contract=off -nostdlib \
  -Wall -Wextra -Wl,--no-entry -o "$1.bare" "$here/zscore.c"
python3 "$here/../add_manifest.py" "$1.bare" "$here/zscore.json" "$1"
rm "$1.bare"
