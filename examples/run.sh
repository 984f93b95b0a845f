#!/usr/bin/env bash
# Runs the examples and compares their verdicts bit for bit; prints a line for each.
#
#   TWINGE_BIN     folder of the programs (target/debug)
#   TWINGE_TOOLS   folder for what npm and pip bring (target/examples-tools)
#   CI=true        what is missing is a failure, not skipped
#
# As root it installs Debian's packages where they are missing.
set -Eeuo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
bin="${TWINGE_BIN:-$root/target/debug}"
tools="${TWINGE_TOOLS:-$root/target/examples-tools}"
work="$(mktemp -d)"
export TWINGE_SIGNING_KEY="$work/keys/promoter.key"

# The former as in examples/spark.
WASMTIME="wasmtime==48.0.0"
ASSEMBLYSCRIPT="assemblyscript@0.28.20"
# A program that takes longer than these seconds hangs; an installation may wait for a network.
RUN_SECONDS=60
INSTALL_SECONDS=300

example="preparing"
skipped=0
server=""

finish() {
  # By its own number and nothing else: other hosts may run here.
  if [[ -n "$server" ]]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT
trap 'echo "$example: FAILED in line $LINENO of examples/run.sh" >&2' ERR

passed() { echo "$example: $1"; }
skip() {
  echo "$example: SKIPPED: $1"
  skipped=$((skipped + 1))
}
bounded() { timeout --kill-after=5 "$RUN_SECONDS" "$@"; }
installing() { timeout --kill-after=5 "$INSTALL_SECONDS" "$@" >&2; }

install_packages() {
  [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null || return 1
  installing apt-get update -qq && installing apt-get install -y -qq "$@"
}

# Whether all the programs are there, after an attempt to install the packages that have them:
# has "PROGRAM..." PACKAGE...
has() {
  local program
  for program in $1; do
    command -v "$program" >/dev/null || { install_packages "${@:2}" && command -v "$program" >/dev/null; } || return 1
  done
}

has_python_wasmtime() {
  local venv="$tools/python"
  [[ ! -f "$venv/$WASMTIME" ]] || return 0
  installing python3 -m venv "$venv" ||
    { install_packages python3-venv && installing python3 -m venv "$venv"; } || return 1
  installing "$venv/bin/python" -m pip install --quiet "$WASMTIME" && touch "$venv/$WASMTIME"
}

has_assemblyscript() {
  has "node npm" nodejs npm || return 1
  [[ ! -f "$tools/$ASSEMBLYSCRIPT" ]] || return 0
  installing npm install --silent --no-fund --no-audit --prefix "$tools" "$ASSEMBLYSCRIPT" &&
    touch "$tools/$ASSEMBLYSCRIPT"
}

# A host over the events, and its verdicts by their bits: host_bits NAME FLAGS...
host_bits() {
  local name="$1"
  shift
  bounded "$bin/host" --replay "$work/events.ndjson" --verdicts "$work/$name.verdicts" \
    --dead-letters "$work/$name.dead-letters" --state "$work/$name.state" "$@" 2>"$work/$name.log" ||
    { tail -n 3 "$work/$name.log" >&2; return 1; }
  python3 "$here/verdict_bits.py" <"$work/$name.verdicts" >"$work/$name.bits"
}

# Events of four numbers and a category, some missing, some late, some with nothing to score.
make_events() {
  bounded "$bin/trainer" generate --world sensors --events 20000 --entities 50 --missing 0.02 --seed 1 \
    --format ndjson --out "$work/in-order.ndjson" 2>"$work/generate.log"
  awk '
    NR % 97 == 0 { late = $0; next }
    NR % 501 == 0 { sub(/"temperature_c".*"mode"/, "\"mode\"") }
    { print }
    NR % 97 == 40 && late != "" { print late; late = "" }
  ' "$work/in-order.ndjson" >"$work/events.ndjson"
}

detector_in_c() {
  example="detector-in-c"
  has "clang wasm-ld" clang lld || { skip "clang or wasm-ld is missing: install clang and lld"; return; }
  bash "$here/detector-in-c/build.sh" "$work/c.wasm"
  # Nobody has signed it yet, so a host runs it only where it is told to.
  if bounded "$bin/host" --module "$work/c.wasm" --trust "$work/keys/trust.json" --replay "$work/events.ndjson" \
    --verdicts - --state "$work/refused.state" >"$work/refused.verdicts" 2>"$work/refused.log"; then
    echo "$example: a host ran an unsigned module without a word" >&2
    return 1
  fi
  host_bits c-unsigned --module "$work/c.wasm" --allow-unsigned
  bounded "$bin/trainer" sign --module "$work/c.wasm" >"$work/sign.log" 2>&1
  host_bits c --module "$work/c.wasm" --trust "$work/keys/trust.json"
  cmp "$work/c-unsigned.bits" "$work/c.bits"
  local outcome
  for outcome in normal anomalous warming-up invalid; do grep -q " $outcome " "$work/c.bits"; done
  grep -q " 1 [0-9a-f]*$" "$work/c.bits"
  passed "$(wc -c <"$work/c.wasm") bytes, unsigned refused, signed run, $(wc -l <"$work/c.bits") verdicts"
}

detector_in_assemblyscript() {
  example="detector-in-assemblyscript"
  has_assemblyscript || { skip "AssemblyScript is missing: install node and npm, or look at the network"; return; }
  [[ -f "$work/c.bits" ]] || { skip "there is no detector in C to compare with"; return; }
  PATH="$tools/node_modules/.bin:$PATH" bounded bash "$here/detector-in-assemblyscript/build.sh" "$work/as.wasm"
  host_bits as --module "$work/as.wasm" --allow-unsigned
  cmp "$work/c.bits" "$work/as.bits"
  passed "$(wc -c <"$work/as.wasm") bytes, $(wc -l <"$work/as.bits") verdicts with the bits of those in C"
}

# A scorer of its own against the host, over every module: compare_scorer COMMAND...
compare_scorer() {
  local module
  for module in trained c; do
    [[ -f "$work/$module.bits" ]] || continue
    bounded "$@" "$work/$module.wasm" "$work/events.ndjson" >"$work/$example.bits"
    cmp "$work/$module.bits" "$work/$example.bits"
  done
  passed "$(wc -l <"$work/$example.bits") verdicts of each module with the host's bits"
}

score_from_python() {
  example="score-from-python"
  has_python_wasmtime || { skip "wasmtime for Python is missing: install python3 with venv, or look at the network"; return; }
  compare_scorer "$tools/python/bin/python" "$here/score-from-python/score.py"
}

score_in_node() {
  example="score-in-node"
  has node nodejs || { skip "node is missing: install node 20 or later"; return; }
  compare_scorer node "$here/score-in-node/score.mjs"
}

embed_in_rust() {
  example="embed-in-rust"
  [[ -x "$bin/examples/embed" ]] ||
    { skip "it is not built: cargo build --workspace --bins --example embed"; return; }
  compare_scorer "$bin/examples/embed"
}

# A journal that is soon full, so that the host says 429 where it is fast enough; then all once more.
add_a_source() {
  example="add-a-source"
  timeout --kill-after=5 "$RUN_SECONDS" "$bin/host" --module "$work/trained.wasm" --trust "$work/keys/trust.json" \
    --listen 127.0.0.1:0 --verdicts "$work/source.verdicts" \
    --dead-letters "$work/source.dead-letters" --state "$work/source.state" --journal-mib 64 \
    --checkpoint-seconds 3 --checkpoint-events 1000000 2>"$work/source.log" &
  server=$!
  local address="" tries
  for ((tries = 0; tries < 200; tries++)); do
    address="$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$work/source.log" | head -n 1)"
    if [[ -n "$address" ]]; then break; fi
    kill -0 "$server" 2>/dev/null || { tail -n 3 "$work/source.log" >&2; return 1; }
    sleep 0.1
  done
  awk 'BEGIN { note = sprintf("%4000s", ""); gsub(/ /, "x", note) }
    { sub(/"mode"/, "\"note\":\"" note "\",&"); print }' "$work/events.ndjson" >"$work/long.ndjson"
  for events in long events; do
    bounded "$here/add-a-source/send.py" "http://$address" plant-7 <"$work/$events.ndjson" \
      >>"$work/send.out" 2>>"$work/send.log"
  done
  # Told to stop it scores no more, so what is accepted must be told first.
  local wanted
  wanted="$(wc -l <"$work/trained.bits")"
  for ((tries = 0; tries < 200; tries++)); do
    if [[ "$(wc -l <"$work/source.verdicts")" -ge "$wanted" ]]; then break; fi
    sleep 0.1
  done
  kill "$server"
  wait "$server"
  server=""
  python3 "$here/verdict_bits.py" <"$work/source.verdicts" >"$work/source.bits"
  cmp "$work/trained.bits" "$work/source.bits"
  passed "sent twice and scored once, after $(grep -c ' 429' "$work/send.log" || true) answers of 429"
}

bounded "$bin/trainer" keygen --out "$work/keys" >"$work/keygen.log" 2>&1
has python3 python3 || { echo "python3 is missing: install it" >&2; exit 1; }
make_events
bounded "$bin/trainer" train --data "$work/events.ndjson" --seed 1 --out "$work/trained.wasm" >"$work/train.log" 2>&1
host_bits trained --module "$work/trained.wasm" --trust "$work/keys/trust.json"

detector_in_c
detector_in_assemblyscript
score_from_python
score_in_node
embed_in_rust
add_a_source

if [[ "$skipped" -gt 0 && "${CI:-}" == true ]]; then
  echo "$skipped examples were skipped, and CI=true, so nothing may be missing" >&2
  exit 1
fi
