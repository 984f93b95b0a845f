#!/usr/bin/env python3
"""Adds a manifest to a module: add_manifest.py BARE.wasm MANIFEST.json OUT.wasm

A custom section is a zero, the length of what follows, and in there a name with its length and the
content (docs/abi.md). It may stand anywhere, so it goes to the end.
"""

import json
import pathlib
import sys


def leb128(number):
    """An unsigned number, seven bits a byte, the lowest first."""
    return bytes([number & 0x7F | 0x80]) + leb128(number >> 7) if number > 0x7F else bytes([number])


bare, manifest, out = map(pathlib.Path, sys.argv[1:])
name, content = b"twinge.manifest", manifest.read_bytes()
json.loads(content)  # A mistake is easier to find here than in a module.
section = leb128(len(name)) + name + content
out.write_bytes(bare.read_bytes() + b"\0" + leb128(len(section)) + section)
