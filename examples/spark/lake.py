"""What Spark reads of a lake: the files that its listings name, and nothing else in its folders.

Fields are taken from the lake's columns, as hosts read them from the events. So every module that
read events into these files must have read what is asked for here, and from the same fields.
"""

import json
import re

import pandas
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType

import twinge
from twinge import Refused

FORMAT = 1
"""The format of listings that this version reads."""

COLUMNS = (
    "twinge_source string, twinge_partition string, twinge_offset bigint, twinge_ingested timestamp, "
    "twinge_time timestamp, twinge_entity string, twinge_id string, twinge_verdict string, "
    "twinge_severity string, twinge_module string, twinge_event string"
)
"""Columns that every file has, as far as they are used here."""


def session(name):
    """Spark, as lakes want it."""
    spark = SparkSession.builder.appName(name).getOrCreate()
    # What runs on executors is there.
    spark.sparkContext.addPyFile(twinge.__file__)
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    # Two fields may differ in the case of a letter alone.
    spark.conf.set("spark.sql.caseSensitive", "true")
    spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    return spark


def listed(spark, place, detector, span=(-(2**63), 2**63 - 1)):
    """Facts of the files that count and may hold rows of a span of milliseconds, by path."""
    files, replaced, before = {}, set(), ""
    for path, entry in documents(spark, place, f"_manifest/{detector}"):
        if entry["format"] != FORMAT:
            raise Refused(f"{path} is of format {entry['format']}, and this program reads {FORMAT}: take a newer one")
        if path.endswith("/expired.json"):
            before = entry["before"]
        elif "/compacted/" in path:
            replaced.update(entry["replaces"])
            files[entry["file"]["path"]] = entry["file"]
        else:
            files.update((file["path"], file) for file in entry["files"])
    first, until = span
    counts = {
        path: file
        for path, file in sorted(files.items())
        if path not in replaced and day_and_hour(path)[0] >= before
        if file["first_ms"] < until and file["last_ms"] >= first
    }
    if not counts:
        raise Refused(f"lake {place} lists nothing of detector `{detector}` in this span")
    return counts


def day_and_hour(path):
    """What a file lies under, as texts."""
    return re.search("/date=([^/]*)/hour=([^/]*)/", path).groups()


def documents(spark, place, folder):
    """Paths and contents of the JSON documents below a folder."""
    reader = spark.read.option("recursiveFileLookup", True).option("pathGlobFilter", "*.json")
    try:
        found = reader.text(f"{place}/{folder}", wholetext=True).select("_metadata.file_path", "value").collect()
    except AnalysisException as error:
        if not is_missing(error):
            raise
        raise Refused(f"{place} has no folder {folder}: it is no lake, or has nothing of this detector") from None
    return [(path, json.loads(text)) for path, text in found]


def is_missing(error):
    """Whether an error of Spark says that a path is not there."""
    return "PATH_NOT_FOUND" in str(error)


def rows(spark, place, files, schema):
    """The rows with a verdict of listed files, once these are found to hold what a schema asks for.

    Beside the columns of the lake there are `date` and `hour`, and `twinge_time_ms`.
    """
    numeric, categorical = columns_of(schema)
    fields = [*(f"{quoted(name)} double" for name in numeric), *(f"{quoted(name)} string" for name in categorical)]
    # A host writes times as they are, those before the Gregorian calendar too.
    reader = spark.read.schema(", ".join([COLUMNS, *fields])).option("basePath", place)
    reader = reader.option("datetimeRebaseMode", "CORRECTED")
    read = reader.parquet(*(f"{place}/{path}" for path in files))
    check(spark, place, files, schema, read)
    with_verdict = read.where(F.col("twinge_module").isNotNull())
    # Nanoseconds, which pandas would take, do not reach as far.
    return with_verdict.withColumn("twinge_time_ms", F.expr("unix_millis(twinge_time)"))


def columns_of(schema):
    """The columns of a schema's numbers and of its categories."""
    return tuple([column_of(name) for name in schema.get(kind, [])] for kind in ("numeric", "categorical"))


def column_of(field):
    """The column of a field."""
    is_taken = field in ("detector", "date", "hour") or field.startswith("twinge_")
    return f"field_{field}" if is_taken else field


def quoted(name):
    """A column's name as Spark takes it, whatever characters it has."""
    return f"`{name.replace('`', '``')}`"


def check(spark, place, files, schema, read):
    """Refuses files that do not hold what was listed, or not what the schema asks for.

    All rows of a module were read by one schema, so one file and one event of each module tell.
    """
    any_file = F.min("_metadata.file_path").alias("file")
    found = read.groupBy("twinge_module").agg(F.count("*").alias("rows"), any_file).collect()
    wanted, there = sum(file["rows"] for file in files.values()), sum(module["rows"] for module in found)
    if wanted != there:
        raise Refused(f"the lake's files have {there} rows, and {wanted} are listed: something has altered them")
    for module, file in ((row["twinge_module"], row["file"]) for row in found):
        if module is None:
            continue
        one = spark.read.parquet(f"{place}/{file[file.rindex('detector=') :]}")
        check_columns(schema, one.schema, module)
        event = one.where(F.col("twinge_module") == module)
        check_event(schema, *event.select("twinge_event", "twinge_entity", F.expr("unix_millis(twinge_time)")).first())


def check_columns(schema, columns, module):
    """Refuses a file that lacks a field, for which Spark would read nulls."""
    kinds = {column.name: column.dataType for column in columns}
    numeric, categorical = columns_of(schema)
    for name in [*numeric, *categorical]:
        kind = DoubleType() if name in numeric else StringType()
        if kinds.get(name) != kind:
            raise Refused(
                f"the lake has no column `{name}` of {kind.simpleString()} where module {module[:12]} read events: "
                "what a module never read before is to be had of the events alone, from a host"
            )


def check_event(schema, event, entity, time_ms):
    """Refuses rows whose entity or time is that of another field than the schema's."""
    event = json.loads(event)
    if "specversion" in event and isinstance(event.get("data"), dict):
        event = event["data"]
    named = event.get(schema.get("entity"))
    if isinstance(named, str) and named != entity:
        raise Refused(f"entities of the lake, such as `{entity}`, do not come from the field `{schema['entity']}`")
    if not schema.get("time"):
        return
    if time_ms is None:
        raise Refused(f"events of the lake have no time, and the module wants one from `{schema['time']}`")
    told = seconds_of(event.get(schema["time"]), schema.get("time_format", "rfc3339"))
    if told is not None and abs(told - time_ms / 1000) > 1:
        raise Refused(f"times of the lake, such as {time_ms} ms, do not come from the field `{schema['time']}`")


def seconds_of(time, time_format):
    """Seconds since 1970; None where it is written in a way that only hosts read."""
    try:
        if time_format == "rfc3339":
            return pandas.Timestamp(time).timestamp()
        return float(time) / (1000 if time_format == "epoch-ms" else 1)
    except (TypeError, ValueError):
        return None
