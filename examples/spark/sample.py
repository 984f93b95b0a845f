"""Draws the sample of a lake that a training starts from: the rows that `trainer train --dataset` takes.

    spark-submit sample.py --lake lake --module detector.wasm --out sample.parquet
    trainer train --data sample.parquet --config detector.toml

Rows are taken by a hash of what they are, so neither executors nor partitions make a difference.
"""

import argparse
import sys
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
from pyspark.errors import AnalysisException
from pyspark.sql import Window
from pyspark.sql import functions as F

import lake
import twinge

ROWS_MAX = 200_000
"""As of the trainer."""

LABEL = "detector string, verdict_id string, entity string, time string, label string, received string"

EVER = (-(2**63), 2**63 - 1)


def main(words):
    flags = arguments().parse_args(words)
    spark = lake.session("twinge sample")
    try:
        manifest = twinge.manifest_of(Path(flags.module).read_bytes())
        settings = {"rows_max": flags.rows_max, "seed": flags.seed, "anomalies": flags.anomalies}
        span = (milliseconds(flags.start, EVER[0]), milliseconds(flags.until, EVER[1]))
        table = sample(spark, flags.lake, manifest, span=span, **settings)
    except twinge.Refused as reason:
        sys.exit(f"error: {reason}")
    pyarrow.parquet.write_table(table, flags.out)
    print(f"{table.num_rows} rows in {flags.out}")


def arguments():
    parser = argparse.ArgumentParser(description="Draws the sample of a lake that a training starts from.")
    parser.add_argument("--lake", required=True, help="the lake: a directory, or an address that Spark reads")
    parser.add_argument("--module", required=True, help="a module of the detector: it names the fields")
    parser.add_argument("--out", required=True, help="the Parquet file, on the driver's machine")
    parser.add_argument("--rows-max", type=int, default=ROWS_MAX, help=f"rows at most [default: {ROWS_MAX}]")
    parser.add_argument("--seed", type=int, default=0, help="another one takes other rows [default: 0]")
    parser.add_argument("--from", dest="start", help="the first moment, RFC 3339 [default: the beginning]")
    parser.add_argument("--until", help="the moment after the last, RFC 3339 [default: the end]")
    parser.add_argument(
        "--anomalies",
        action="store_true",
        help="take flagged and confirmed anomalies along, marked in a column `twinge_anomaly`",
    )
    return parser


def milliseconds(text, default):
    if text is None:
        return default
    moment = pandas.Timestamp(text)
    return int((moment if moment.tzinfo else moment.tz_localize("UTC")).timestamp() * 1000)


def sample(spark, place, manifest, rows_max=ROWS_MAX, seed=0, anomalies=False, span=EVER):
    """The sample as a table, in the order of time."""
    schema = manifest["schema"]
    files = lake.listed(spark, place, manifest["name"], span)
    rows = lake.rows(spark, place, files, schema).where(F.col("twinge_verdict") != "invalid")
    rows = rows.withColumn("moment", F.coalesce("twinge_time_ms", F.expr("unix_millis(twinge_ingested)")))
    rows = rows.where((F.col("moment") >= span[0]) & (F.col("moment") < span[1]))
    rows = with_labels(spark, place, manifest["name"], rows)
    if not anomalies:
        rows = rows.where(~F.col("twinge_anomaly"))
    seed = seed.to_bytes(8, "little")
    if schema.get("entity"):
        taken = whole_entities(rows, rows_max, seed)
    else:
        hours = {lake.day_and_hour(path) for path in files}
        taken = some_of_each_hour(rows, max(rows_max // len(hours), 1), seed)
    columns = columns_to_train(schema)
    if anomalies:
        columns["twinge_anomaly"] = (F.col("twinge_anomaly"), pyarrow.bool_())
    in_order = taken.orderBy("moment", "twinge_source", "twinge_partition", "twinge_offset")
    frame = in_order.select(*(column.alias(name) for name, (column, _) in columns.items())).toPandas()
    kinds = pyarrow.schema([(name, kind) for name, (_, kind) in columns.items()])
    # What pandas calls NaN is a missing value.
    return pyarrow.Table.from_pandas(frame, kinds, preserve_index=False)


def whole_entities(rows, rows_max, seed):
    """All rows of the entities whose hashes begin with so many zeros that the rows are not too many."""

    @F.pandas_udf("int")
    def zeros(entities: pandas.Series) -> pandas.Series:
        return entities.map(lambda entity: 64 - twinge.hash_of(seed, entity.encode()).bit_length())

    counts = rows.groupBy("twinge_entity").count().withColumn("zeros", zeros("twinge_entity")).cache()
    by_zeros = counts.groupBy("zeros").agg(F.sum("count").alias("rows"), F.count("*").alias("entities")).collect()
    least = 0
    while True:
        left = [row for row in by_zeros if row["zeros"] >= least]
        if sum(row["rows"] for row in left) <= rows_max or sum(row["entities"] for row in left) <= 1:
            break
        least += 1
    chosen = counts.where(F.col("zeros") >= least).select("twinge_entity")
    return rows.join(F.broadcast(chosen), "twinge_entity")


def some_of_each_hour(rows, most, seed):
    """Of each hour, the rows with the least hashes."""

    @F.pandas_udf("string")
    def hashes(sources: pandas.Series, partitions: pandas.Series, offsets: pandas.Series) -> pandas.Series:
        parts = zip(sources, partitions, offsets)
        return pandas.Series(
            f"{twinge.hash_of(seed, source.encode(), partition.encode(), int(offset).to_bytes(8, 'little')):016x}"
            for source, partition, offset in parts
        )

    hashed = rows.withColumn("hash", hashes("twinge_source", "twinge_partition", "twinge_offset"))
    place = F.row_number().over(Window.partitionBy("date", "hour").orderBy("hash"))
    return hashed.withColumn("place", place).where(F.col("place") <= most)


def with_labels(spark, place, detector, rows):
    """Rows with `twinge_anomaly`: whether they were confirmed, or else flagged with some certainty."""
    flagged = F.coalesce(F.col("twinge_severity").isin("medium", "high"), F.lit(False))
    words = labels(spark, place, detector)
    if words is None:
        return rows.withColumn("twinge_anomaly", flagged)
    # A label is about a verdict, or about an entity at a time; of several the last one counts.
    last = F.max(F.struct("received", "label"))
    verdict = F.col("verdict_id").alias("twinge_id")
    by_id = words.where("verdict_id is not null").groupBy(verdict).agg(last.alias("of_id"))
    event = [F.col("entity").alias("twinge_entity"), F.expr(TIME_OF_LABEL).alias("twinge_time_ms")]
    by_event = words.where("entity is not null").groupBy(*event).agg(last.alias("of_event"))
    rows = rows.join(F.broadcast(by_id), "twinge_id", "left")
    rows = rows.join(F.broadcast(by_event), ["twinge_entity", "twinge_time_ms"], "left")
    word = F.greatest("of_id", "of_event")["label"]
    return rows.withColumn("twinge_anomaly", F.coalesce(word == "anomaly", flagged))


TIME_OF_LABEL = "coalesce(try_cast(time as bigint), unix_millis(try_cast(time as timestamp)))"
"""Milliseconds since 1970, of these or of RFC 3339."""


def labels(spark, place, detector):
    """What people said of this detector's verdicts; None where nobody said a word."""
    reader = spark.read.option("recursiveFileLookup", True).option("pathGlobFilter", "*.ndjson")
    try:
        lines = reader.text(f"{place}/_labels")
    except AnalysisException as error:
        if lake.is_missing(error):
            return None
        raise
    words = lines.select(F.from_json("value", LABEL).alias("word")).select("word.*")
    return words.where(F.col("detector").isNull() | (F.col("detector") == detector))


def columns_to_train(schema):
    """Expressions and types of the columns that a training reads, by the names of the schema."""
    columns = {}
    if schema.get("entity"):
        columns[schema["entity"]] = (F.col("twinge_entity"), pyarrow.string())
    if schema.get("time"):
        columns[schema["time"]] = time_as(schema.get("time_format", "rfc3339"))
    for kind, type_of_kind in (("numeric", pyarrow.float64()), ("categorical", pyarrow.string())):
        for name in schema.get(kind, []):
            columns[name] = (F.col(lake.quoted(lake.column_of(name))), type_of_kind)
    if schema.get("label"):
        columns[schema["label"]] = (label_of_event(schema["label"]), pyarrow.string())
    return columns


def time_as(time_format):
    """The event time as a schema wants it."""
    if time_format == "rfc3339":
        return F.date_format("twinge_time", "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"), pyarrow.string()
    if time_format == "epoch-ms":
        return F.col("twinge_time_ms"), pyarrow.int64()
    return F.col("twinge_time_ms") / 1000, pyarrow.float64()


def label_of_event(name):
    """The label that came with an event: hosts do not read it."""
    bare, inside = (F.get_json_object("twinge_event", f"{place}['{name}']") for place in ("$", "$.data"))
    is_cloud_event = F.get_json_object("twinge_event", "$.specversion").isNotNull()
    return F.when(is_cloud_event, inside).otherwise(bare)


if __name__ == "__main__":
    main(sys.argv[1:])
