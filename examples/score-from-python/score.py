#!/usr/bin/env python3
"""Scores events with a module in wasmtime: score.py MODULE.wasm EVENTS.ndjson

Prints each event's number, its verdict, 1 if it came late, and the bits of its score.
"""

import datetime
import json
import math
import struct
import sys

import wasmtime

OUTCOMES = ["normal", "anomalous", "warming-up", "invalid"]


def manifest_of(module):
    """After eight bytes come sections: a number, a length in LEB128, and so many bytes."""
    at = 8
    while True:
        kind, size, shift, at = module[at], 0, 0, at + 1
        while shift == 0 or module[at - 1] & 128:
            size, shift, at = size | (module[at] & 127) << shift, shift + 7, at + 1
        if kind == 0 and module[at : at + 16] == b"\x0ftwinge.manifest":
            return json.loads(module[at + 16 : at + size])
        at += size


def category_code(text):
    """The upper 52 bits of FNV-1a; the empty text is missing."""
    code = 0xCBF29CE484222325
    for byte in text.encode():
        code = (code ^ byte) * 0x100000001B3 % 2**64
    return float(code >> 12) if text else math.nan


module = open(sys.argv[1], "rb").read()
manifest = manifest_of(module)
schema, state_bytes = manifest["schema"], manifest["state_bytes"]
store = wasmtime.Store()
exports = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
memory, score, states = exports["memory"], exports["twinge_score"], {}
layout = exports["twinge_prepare"](store, 1, 1)
times, entities, inputs, state_at, scores, verdicts = struct.unpack("<6I", memory.read(store, layout + 8, layout + 32))
for number, line in enumerate(open(sys.argv[2])):
    event = json.loads(line)
    row = [math.nan if event.get(field) is None else float(event[field]) for field in schema["numeric"]]
    row += [category_code(event.get(field) or "") for field in schema.get("categorical", [])]
    entity = event[schema["entity"]]
    time = datetime.datetime.fromisoformat(event[schema["time"]].replace("Z", "+00:00"))
    memory.write(store, struct.pack("<d", round(time.timestamp() * 1000)), times)
    memory.write(store, struct.pack("<I", 0), entities)
    memory.write(store, struct.pack(f"<{len(row)}d", *row), inputs)
    memory.write(store, states.get(entity, bytes(state_bytes)), state_at)
    assert score(store, 1, 1, 0) == 0, "the module answered an error code of docs/abi.md"
    states[entity] = bytes(memory.read(store, state_at, state_at + state_bytes))
    (word,) = struct.unpack("<I", memory.read(store, verdicts, verdicts + 4))
    print(number, OUTCOMES[word & 255], word >> 8 & 1, memory.read(store, scores, scores + 8)[::-1].hex())
