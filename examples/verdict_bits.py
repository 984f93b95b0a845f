#!/usr/bin/env python3
"""Tells verdicts of a host, on standard input, by their bits: what every example prints.

A line for each: its number from 0, the verdict, 1 if the event came late, and the score as the 16
hexadecimal digits of its f64. JSON holds scores exactly, so nothing is lost on the way.
"""

import json
import struct
import sys

for line in sys.stdin:
    verdict = json.loads(line)["data"]
    late, score = int(verdict.get("late", False)), struct.pack(">d", verdict["score"]).hex()
    print(verdict["origin"]["offset"], verdict["verdict"], late, score)
