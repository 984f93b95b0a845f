"""Checks a broker with Python's azure-eventhub: `EVENTHUB_CONNECTION_STRING=... peer.py [HUB]`.

Prints `ok NAME` for each check and exits with 1 at the first that fails. The hub must have at
least two partitions and no other client. Each check is bounded in time.
"""

import faulthandler
import os
import sys
import threading
import time
from datetime import datetime, timezone

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import ConnectError, EventHubError, AuthenticationError

CHECK_SECONDS = 60
GROUP = "$Default"


def producer(connection, hub):
    return EventHubProducerClient.from_connection_string(
        connection, eventhub_name=hub, retry_total=0
    )


def consumer(connection, hub):
    return EventHubConsumerClient.from_connection_string(
        connection, GROUP, eventhub_name=hub, retry_total=0
    )


def receive(connection, hub, partition, count, position, **options):
    """The first events of a partition from a position on."""
    events = []
    client = consumer(connection, hub)

    def on_event(_context, event):
        if event is not None:
            events.append(event)
        if len(events) >= count:
            threading.Thread(target=client.close).start()

    def on_error(_context, error):
        raise error

    deadline = threading.Timer(20, client.close)
    deadline.start()
    client.receive(
        on_event,
        on_error=on_error,
        partition_id=partition,
        starting_position=position,
        max_wait_time=1,
        **options,
    )
    deadline.cancel()
    expect(len(events) >= count, f"received {len(events)} of {count} events")
    return events[:count]


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def last(connection, hub, partition):
    with producer(connection, hub) as client:
        return client.get_partition_properties(partition)


def bodies(events):
    return [event.body_as_str() for event in events]


def check_properties(connection, hub):
    with producer(connection, hub) as client:
        properties = client.get_eventhub_properties()
        expect(properties["eventhub_name"] == hub, properties)
        expect(properties["partition_ids"][:2] == ["0", "1"], properties)
        partition = client.get_partition_properties("0")
        expect(partition["id"] == "0", partition)
        expect(partition["is_empty"] == (partition["last_enqueued_sequence_number"] < 0), partition)


def check_single(connection, hub):
    before = last(connection, hub, "0")["last_enqueued_sequence_number"]
    event = EventData(b"single")
    event.properties = {"text": "a value", "number": 7}
    event.message_id = "an id"
    event.content_type = "text/plain"
    with producer(connection, hub) as client:
        client.send_event(event, partition_id="0")
    [received] = receive(connection, hub, "0", 1, before)
    expect(received.body_as_str() == "single", received)
    expect(received.properties == {b"text": b"a value", b"number": 7}, received.properties)
    expect(received.message_id == "an id", received.message_id)
    expect(received.content_type == "text/plain", received.content_type)
    expect(received.sequence_number == before + 1, received.sequence_number)
    expect(abs(received.enqueued_time.timestamp() - time.time()) < 60, received.enqueued_time)


def check_batch(connection, hub):
    before = last(connection, hub, "1")["last_enqueued_sequence_number"]
    wanted = [f"batch {number}" for number in range(100)]
    with producer(connection, hub) as client:
        batch = client.create_batch(partition_id="1")
        for body in wanted:
            batch.add(EventData(body))
        client.send_batch(batch)
    received = receive(connection, hub, "1", 100, before)
    expect(bodies(received) == wanted, bodies(received)[:3])


def check_large(connection, hub):
    before = last(connection, hub, "0")["last_enqueued_sequence_number"]
    body = b"x" * 1_000_000
    with producer(connection, hub) as client:
        client.send_event(EventData(body), partition_id="0")
        try:
            client.send_event(EventData(b"y" * 1_500_000), partition_id="0")
        except (EventHubError, ValueError):
            pass
        else:
            raise AssertionError("a message of 1.5 MB was taken")
    [received] = receive(connection, hub, "0", 1, before)
    expect(b"".join(received.body) == body, "the body differs")


def check_partition_key(connection, hub):
    with producer(connection, hub) as client:
        ids = client.get_partition_ids()
        before = {id: last(connection, hub, id)["last_enqueued_sequence_number"] for id in ids}
        client.send_event(EventData("one"), partition_key="a key")
        batch = client.create_batch(partition_key="a key")
        batch.add(EventData("two"))
        client.send_batch(batch)
        after = {id: last(connection, hub, id)["last_enqueued_sequence_number"] for id in ids}
    [partition] = [id for id in ids if after[id] > before[id]]
    received = receive(connection, hub, partition, 2, before[partition])
    expect(bodies(received) == ["one", "two"], bodies(received))
    expect({event.partition_key for event in received} == {b"a key"}, received[0].partition_key)


def check_positions(connection, hub):
    before = last(connection, hub, "0")["last_enqueued_sequence_number"]
    with producer(connection, hub) as client:
        client.send_event(EventData("one"), partition_id="0")
        time.sleep(0.05)
        between = datetime.now(timezone.utc)
        time.sleep(0.05)
        for body in ["two", "three"]:
            client.send_event(EventData(body), partition_id="0")
    one, two, _three = receive(connection, hub, "0", 3, before)
    expect(bodies(receive(connection, hub, "0", 2, one.offset)) == ["two", "three"], "offset")
    for position, inclusive, wanted in [
        (two.offset, True, "two"),
        (two.offset, False, "three"),
        (two.sequence_number, True, "two"),
        (two.sequence_number, False, "three"),
        (between, False, "two"),
    ]:
        [event] = receive(
            connection, hub, "0", 1, position, starting_position_inclusive=inclusive
        )
        expect(event.body_as_str() == wanted, f"{position} {inclusive}: {event.body_as_str()}")
    [first] = receive(connection, hub, "0", 1, "-1")
    expect(first.sequence_number == 0, first.sequence_number)


def check_latest(connection, hub):
    client = consumer(connection, hub)
    received = []

    def on_event(_context, event):
        if event is not None:
            received.append(event.body_as_str())

    thread = threading.Thread(
        target=client.receive,
        args=(on_event,),
        kwargs={"partition_id": "1", "starting_position": "@latest", "max_wait_time": 1},
    )
    thread.start()
    time.sleep(3)
    with producer(connection, hub) as sender:
        sender.send_event(EventData("new"), partition_id="1")
    deadline = time.time() + 15
    while not received and time.time() < deadline:
        time.sleep(0.05)
    client.close()
    thread.join(20)
    expect(received == ["new"], received)


def check_epoch(connection, hub):
    errors = []
    old = consumer(connection, hub)
    thread = threading.Thread(
        target=old.receive,
        args=(lambda _context, _event: None,),
        kwargs={
            "partition_id": "0",
            "owner_level": 1,
            "on_error": lambda _context, error: errors.append(error),
            "max_wait_time": 1,
        },
    )
    thread.start()
    time.sleep(3)
    [_event] = receive(connection, hub, "0", 1, "-1", owner_level=2)
    deadline = time.time() + 15
    while not errors and time.time() < deadline:
        time.sleep(0.05)
    old.close()
    thread.join(20)
    expect(errors, "the receiver with the lower epoch was not displaced")
    expect("stolen" in str(errors[0]).lower() or "epoch" in str(errors[0]), errors[0])


def check_wrong_key(connection, hub):
    parts = dict(part.split("=", 1) for part in connection.split(";") if part)
    parts["SharedAccessKey"] = "d3Jvbmc="
    wrong = ";".join(f"{name}={value}" for name, value in parts.items())
    try:
        with producer(wrong, hub) as client:
            client.send_event(EventData("refused"), partition_id="0")
    except (AuthenticationError, ConnectError, EventHubError) as error:
        expect("key" in str(error) or "401" in str(error), str(error))
    else:
        raise AssertionError("a wrong key was taken")


def main():
    # Not an argument, which every user of the machine could read.
    connection = os.environ["EVENTHUB_CONNECTION_STRING"]
    hub = sys.argv[1] if len(sys.argv) > 1 else "events"
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            # A check that hangs shows where, and fails.
            faulthandler.dump_traceback_later(CHECK_SECONDS, exit=True)
            check(connection, hub)
            faulthandler.cancel_dump_traceback_later()
            print(f"ok {name.removeprefix('check_')}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # The last line says what failed.
        import traceback

        traceback.print_exc()
        print(f"failed: {error!r}", file=sys.stderr)
        sys.exit(1)
