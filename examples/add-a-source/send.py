#!/usr/bin/env python3
"""Sends events on standard input, a JSON object a line, to a host: send.py http://HOST:PORT SOURCE

Each becomes a CloudEvent whose id stays the same however often it is sent, so a host drops what it
was sent twice. What a host accepted with 202 is on its disk.
"""

import itertools
import json
import sys
import time
import urllib.error
import urllib.request

BATCH_EVENTS = 500
SECONDS_MAX = 60  # Then a batch that nobody takes is an error.
RETRIED = {408, 429, 500, 502, 503, 504}


def cloud_event(source, number, line):
    # A source with ids of its own uses them; here it is the line's number.
    event = {"specversion": "1.0", "type": "com.example.reading", "source": source, "id": str(number)}
    return event | {"datacontenttype": "application/json", "data": json.loads(line)}


def send(address, batch):
    """One batch, tried again after as many seconds as the host asks for, or ever longer pauses."""
    request = urllib.request.Request(
        f"{address}/v1/events",
        json.dumps(batch).encode(),
        {"Content-Type": "application/cloudevents-batch+json"},
    )
    deadline, pause = time.monotonic() + SECONDS_MAX, 0.1
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_MAX) as response:
                return json.load(response)["accepted"]
        except urllib.error.HTTPError as error:
            if error.code not in RETRIED:
                raise SystemExit(f"host refused a batch: {error.code} {error.read().decode()}") from error
            asked = error.headers.get("Retry-After", "")
            wait, reason = float(asked) if asked.isdecimal() else pause, str(error)
        except OSError as error:
            # The host is away; whether it got the batch does not matter.
            wait, reason = pause, str(error)
        if time.monotonic() + wait > deadline:
            raise SystemExit(f"host took no batch for {SECONDS_MAX} s: {reason}")
        print(f"{reason}: again in {wait:g} s", file=sys.stderr)
        time.sleep(wait)
        pause = min(2 * pause, 10)


address, source = sys.argv[1:]
events = (cloud_event(source, number, line) for number, line in enumerate(sys.stdin))
sent = 0
while batch := list(itertools.islice(events, BATCH_EVENTS)):
    sent += send(address, batch)
print(f"{sent} events accepted")
