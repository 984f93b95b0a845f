"""Reads a host's checkpoints and ownerships with Azure's own checkpoint store for Python.

Takes the storage connection string from AZURE_STORAGE_CONNECTION_STRING, and as arguments container,
namespace, hub, consumer group and the number of events that each partition must account for together.
"""

import os
import sys

from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore


def main() -> None:
    container, namespace, hub, group, events = sys.argv[1:]
    store = BlobCheckpointStore.from_connection_string(
        os.environ["AZURE_STORAGE_CONNECTION_STRING"], container
    )
    with store:
        checkpoints = list(store.list_checkpoints(namespace, hub, group))
        ownerships = list(store.list_ownership(namespace, hub, group))
    done = sum(checkpoint["sequence_number"] + 1 for checkpoint in checkpoints)
    assert done == int(events), f"{done} events are checkpointed, not {events}"
    for checkpoint in checkpoints:
        assert int(checkpoint["offset"]) >= -1, checkpoint
    partitions = sorted(checkpoint["partition_id"] for checkpoint in checkpoints)
    assert sorted(owner["partition_id"] for owner in ownerships) == partitions, ownerships
    print(f"ok {len(checkpoints)} checkpoints of {done} events, {len(ownerships)} ownerships")


if __name__ == "__main__":
    main()
