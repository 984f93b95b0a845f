"""Scores a lake with a detector module, on as many machines as Spark has.

    spark-submit score.py --lake lake --detector card-payments --module detector.wasm --out scores
"""

import argparse
import sys
from pathlib import Path

import pandas
from pyspark.sql import functions as F

import lake
import twinge

GROUP_ROWS = 100_000
"""Rows that should be in a worker's memory at once; of one entity all must be."""

STATE_BYTES_COMMON = 16
"""State that says only how many events there were and when the last one was: no score depends on it."""

PLACE = ["twinge_source", "twinge_partition"]
KEPT = ["twinge_id", *PLACE, "twinge_offset"]

SCORES = {
    "id": "string",
    "source": "string",
    "partition": "string",
    "offset": "bigint",
    "score": "double",
    "verdict": "string",
    "late": "boolean",
}
"""Columns of the result; the first four are those of the lake without `twinge_`."""


def main(words):
    flags = arguments().parse_args(words)
    spark = lake.session("twinge score")
    try:
        module = Path(flags.module).read_bytes()
        score(spark, flags.lake, flags.detector, module, flags.order).write.parquet(flags.out)
    except twinge.Refused as reason:
        sys.exit(f"error: {reason}")
    for verdict, count in sorted(spark.read.parquet(flags.out).groupBy("verdict").count().collect()):
        print(f"{verdict:12} {count}")


def arguments():
    parser = argparse.ArgumentParser(description="Scores a lake with a detector module.")
    parser.add_argument("--lake", required=True, help="the lake: a directory, or an address that Spark reads")
    parser.add_argument("--detector", required=True, help="the detector whose events are scored")
    parser.add_argument("--module", required=True, help="the module, a file on the driver's machine")
    parser.add_argument("--out", required=True, help="folder for the scores, which is not there yet")
    parser.add_argument(
        "--order",
        choices=["time", "arrival"],
        default="time",
        help="time: an entity's events by their time, from wherever they came; "
        "arrival: those of each partition by offset, as a host takes them [default: time]",
    )
    return parser


def score(spark, place, detector, module, order="time"):
    """The scores of a lake's events with the bytes of a module, as rows of SCORES."""
    manifest = twinge.manifest_of(module)
    schema = manifest["schema"]
    past = columns_of_a_past(manifest, order)
    files = lake.listed(spark, place, detector)
    rows = lake.rows(spark, place, files, schema)
    if schema.get("entity"):
        tell_of_evictions(rows, manifest)
    if not schema.get("time"):
        rows = rows.withColumn("twinge_time_ms", F.lit(0).cast("bigint"))
    numeric, categorical = lake.columns_of(schema)
    by = ["twinge_offset"] if order == "arrival" else ["twinge_time_ms", *PLACE, "twinge_offset"]

    def score_group(frame):
        frame = frame.sort_values([*past, *by], ignore_index=True)
        entities = frame.groupby(past, sort=False).ngroup().to_numpy()
        inputs = twinge.inputs_of(frame, numeric, categorical)
        scores, verdicts = twinge.detector(module).score_entities(entities, frame["twinge_time_ms"], inputs)
        columns = [frame[column] for column in KEPT]
        columns += [scores, twinge.VERDICTS[verdicts & 0xFF], verdicts & twinge.LATE != 0]
        return pandas.DataFrame(dict(zip(SCORES, columns)))

    needed = [lake.quoted(name) for name in [*KEPT, "twinge_entity", "twinge_time_ms", *numeric, *categorical]]
    # Entities are put together in groups: one by one, most of the time would be Spark's.
    groups = max(sum(file["rows"] for file in files.values()) // GROUP_ROWS, spark.sparkContext.defaultParallelism)
    group = F.pmod(F.xxhash64(*past), F.lit(groups)).alias("group")
    return rows.select(needed).groupBy(group).applyInPandas(score_group, ", ".join(map(" ".join, SCORES.items())))


def columns_of_a_past(manifest, order):
    """The columns in which events agree that have a past in common."""
    schema, stream = manifest["schema"], manifest["stream"]
    if schema.get("entity"):
        return ["twinge_entity"] if order == "time" else [*PLACE, "twinge_entity"]
    if manifest["state_bytes"] > STATE_BYTES_COMMON or stream.get("warm_up_events", 0) or schema.get("time"):
        raise twinge.Refused(
            f"detector `{manifest['name']}` has no entities and remembers what came before: all its events are one "
            "series, which cannot be shared out; `host --replay` and `trainer score` score them in order"
        )
    return [*PLACE, "twinge_offset"]


def tell_of_evictions(rows, manifest):
    """Says where a host would have forgotten entities, and here they are remembered."""
    most = manifest["stream"].get("entities_max", 100_000)
    entities = rows.groupBy(*PLACE).agg(F.countDistinct("twinge_entity").alias("entities"))
    for source, partition, count in entities.where(F.col("entities") > most).collect():
        print(
            f"note: partition {partition} of {source} has {count} entities, and a host remembers {most} of them: "
            "where it evicted one that came back, its scores begin anew, and these do not",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
