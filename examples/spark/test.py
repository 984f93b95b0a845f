"""Scores and samples a small lake that a host has made, and compares with what host and trainer say.

Usage: test.py PROGRAMS

PROGRAMS is the folder of the built programs `host` and `trainer`. Needs requirements.txt and Java.
"""

import contextlib
import csv
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import wasmtime
from pyspark.sql import SparkSession

import lake
import sample
import score
import twinge

PROGRAMS = Path(sys.argv[1]).resolve()
CONFIG = Path(__file__).resolve().parents[2] / "fixtures/demo/card-payments.toml"
EVENTS = 12_000
LATE_AT_MOST = 40
"""Events that one may be overtaken by."""


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # The trainer keeps what is its own there.
        os.environ["HOME"] = folder
        make_lake()
        spark = session()
        rows = listed_rows("card-payments")
        scores_are_the_hosts(spark, rows)
        scores_in_order_of_time_are_the_trainers(spark, rows)
        samples_are_the_trainers(spark)
        labels_count(spark, rows)
        rows_without_a_past_are_shared_out(spark)
        evictions_are_told(spark, rows)
        what_cannot_be_is_refused(spark)
        spark.stop()


def make_lake():
    """Events out of order, with what hosts must cope with, and files that are there and do not count."""
    generate = ["generate", "--entities", "100", "--rate", "2"]
    run("trainer", *generate, "--seed", "1", "--events", "6000", "--out", "training.csv")
    run("trainer", *generate, "--seed", "2", "--events", EVENTS, "--missing", "0.02", "--out", "in-order.ndjson")
    run("trainer", "train", "--unsigned", "--config", CONFIG, "--data", "training.csv", "--out", "cards.wasm")
    lines = Path("in-order.ndjson").read_text().splitlines()
    Path("events.ndjson").write_text("\n".join(disturbed(lines)) + "\n")
    run(
        *("host", "--allow-unsigned", "--module", "cards.wasm", "--replay", "events.ndjson", "--state", "state"),
        *("--lake", "lake", "--lake-rows", "3000", "--checkpoint-events", "1000", "--verdicts", "verdicts.ndjson"),
    )
    files = [Path("lake", path) for path in listed("card-payments")]
    former = {file: file.read_bytes() for file in files}
    run("host", "lake", "compact", "--older-than-hours", "0", "--lake", "lake")
    replaced = next(file for file in files if not file.exists())
    # As if a crash had come before a file was removed, and one before a file was listed.
    replaced.write_bytes(former[replaced])
    shutil.copy(replaced, replaced.with_name("never-listed.parquet"))


def disturbed(lines):
    """Lines out of order, with envelopes, odd values and what is no event among them."""
    chance = random.Random(7)
    places = {number: number + chance.randrange(LATE_AT_MOST) for number in range(len(lines))}
    for number in sorted(places, key=places.get):
        event = json.loads(lines[number])
        if number % 97 == 0:
            yield "no event"
        if number % 89 == 0:
            event["category"], event["country"] = "", None
        if number % 83 == 0:
            event["channel"], event["amount"] = 12.50, True
        if number % 79 == 0:
            event = {"specversion": "1.0", "id": str(number), "source": "/test", "type": "t", "data": event}
        if number % 73 == 0:
            event = {"card": event.get("card", "card-1"), "time": "2026-01-01T00:00:00.0004Z"}
        yield json.dumps(event, ensure_ascii=False)


def session():
    """Spark on this machine, in as much memory as a small one has."""
    # Workers are to find what they need by themselves, not beside this file.
    os.environ.update(PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "1g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    builder = builder.config("spark.sql.shuffle.partitions", "4")
    # Code that runs for seconds is not worth compiling well.
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    builder.getOrCreate().sparkContext.setLogLevel("ERROR")
    return lake.session("twinge test")


def listed_rows(detector):
    """The rows of a detector by what the host lists, read without Spark."""
    tables = [pyarrow.parquet.read_table(f"lake/{path}", partitioning=None) for path in listed(detector)]
    rows = pyarrow.concat_tables(tables, promote_options="permissive").to_pandas()
    return rows.sort_values("twinge_offset", ignore_index=True)


def listed(detector):
    """Paths that a host lists."""
    paths = (json.loads(line)["path"] for line in run("host", "lake", "list", "--lake", "lake").splitlines())
    return [path for path in paths if f"detector={detector}/" in path]


def scores_are_the_hosts(spark, rows):
    words = ["--lake", "lake", "--detector", "card-payments", "--module", "cards.wasm"]
    score.main([*words, "--order", "arrival", "--out", "by-arrival"])
    found = by_offset(spark.read.parquet("by-arrival"))
    told = rows[rows["twinge_verdict"] != "dead-letter"]
    columns = [told[f"twinge_{name}"] for name in ("offset", "id", "score", "verdict", "late")]
    wanted = {offset: (identity, bits(value), *others) for offset, identity, value, *others in zip(*columns)}
    expect("scores in the order of arrival", found, wanted)
    late = sum(late for *_, late in wanted.values())
    assert late > 100 and len(wanted) < len(rows), "the events are too tame"
    print(f"{len(wanted)} scores in the order of arrival are the host's, bit for bit, {late} of them of late events")


def scores_in_order_of_time_are_the_trainers(spark, rows):
    module = Path("cards.wasm").read_bytes()
    found = by_offset(score.score(spark, "lake", "card-payments", module))
    told = rows[rows["twinge_verdict"] != "dead-letter"].sort_values(["twinge_time", "twinge_offset"])
    Path("sorted.ndjson").write_text("\n".join(told["twinge_event"]) + "\n")
    words = ["--module", "cards.wasm", "--data", "sorted.ndjson", "--out", "sorted.csv"]
    run("trainer", "score", "--allow-unsigned", *words)
    with open("sorted.csv", newline="") as lines:
        wanted = [(bits(float(line["score"])), line["verdict"]) for line in csv.DictReader(lines)]
    offsets = told["twinge_offset"].tolist()
    expect("scores in the order of time", {offset: found[offset][1:3] for offset in found}, dict(zip(offsets, wanted)))
    arrival = dict(zip(rows["twinge_offset"], rows["twinge_score"].map(bits)))
    moved = sum(arrival[offset] != score for offset, (score, _) in zip(offsets, wanted))
    print(f"{len(wanted)} scores in the order of time are the trainer's, bit for bit; by arrival {moved} are others")


def samples_are_the_trainers(spark):
    manifest = twinge.manifest_of(Path("cards.wasm").read_bytes())
    dataset = run("trainer", "dataset", "create", "--detector", "card-payments", "--lake", "lake").strip()
    words = ["--lake", "lake", "--module", "cards.wasm", "--out", "sample.parquet"]
    sample.main([*words, "--rows-max", "5000", "--seed", "5"])
    by_entity = pyarrow.parquet.read_table("sample.parquet")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    spark.conf.set("spark.sql.files.maxPartitionBytes", "100000")
    again = sample.sample(spark, "lake", manifest, rows_max=5000, seed=5)
    assert again.equals(by_entity), "another number of partitions gives another sample"
    export = ["dataset", "export", dataset, "--lake", "lake", "--rows-max", "5000", "--seed", "5", "--out"]
    run("trainer", *export, "by-entity.ndjson", "--by-entity")
    expect_sample("a sample of entities", by_entity, "by-entity.ndjson", manifest["schema"])

    train = ["train", "--unsigned", "--config", CONFIG, "--seed", "5"]
    run("trainer", *train, "--data", "sample.parquet", "--out", "of-sample.wasm")
    run("trainer", *train, "--dataset", dataset, "--lake", "lake", "--rows-max", "5000", "--out", "of-dataset.wasm")
    modules = [Path(name).read_bytes() for name in ("of-sample.wasm", "of-dataset.wasm")]
    assert parts(modules[0]) == parts(modules[1]), "the two ways to train give different modules"

    single = {**manifest, "schema": {**manifest["schema"], "entity": None}}
    by_hour = sample.sample(spark, "lake", single, rows_max=1000, seed=5)
    run("trainer", *[{"5000": "1000"}.get(word, word) for word in export], "by-hour.ndjson")
    expect_sample("a sample of hours", by_hour, "by-hour.ndjson", single["schema"])
    sizes = f"{by_entity.num_rows} rows by entity and {by_hour.num_rows} by hour"
    print(f"samples of {sizes} are the trainer's, and so is the module")


def labels_count(spark, rows):
    manifest = twinge.manifest_of(Path("cards.wasm").read_bytes())
    flagged = rows[rows["twinge_severity"].isin(["medium", "high"])]
    normal = rows[rows["twinge_verdict"] == "normal"].iloc[0]
    false_alarm, other = flagged.iloc[0], flagged.iloc[1]
    words = ("anomaly", "false-alarm")
    anomaly, no_anomaly = ({"received": "2026-02-01T00:00:00.000Z", "label": word} for word in words)
    later = {"received": "2026-02-02T00:00:00.000Z", "by": "somebody"}
    about = {"entity": normal["twinge_entity"], "time": normal["twinge_time"].isoformat()}
    told = [
        {"verdict_id": false_alarm["twinge_id"], **no_anomaly, **later},
        {"verdict_id": false_alarm["twinge_id"], **anomaly},
        {"verdict_id": other["twinge_id"], **anomaly},
        {**about, **no_anomaly},
        {**about, "time": int(normal["twinge_time"].timestamp() * 1000), **anomaly, **later},
        {**about, **no_anomaly, **later, "detector": "another"},
    ]
    folder = Path("lake/_labels/journal")
    folder.mkdir(parents=True)
    (folder / "000000000000-000000000900.ndjson").write_text("".join(json.dumps(line) + "\n" for line in told))
    taken = sample.sample(spark, "lake", manifest)
    marked = sample.sample(spark, "lake", manifest, anomalies=True)
    with_verdict = rows["twinge_verdict"].isin(["normal", "anomalous", "warming-up"]).sum()
    expect("rows of a sample with anomalies", marked.num_rows, with_verdict)
    # One flagged row was no anomaly, and one that was not flagged is one.
    expect("rows marked", sum(marked["twinge_anomaly"].to_pylist()), len(flagged))
    expect("rows left", taken.num_rows, with_verdict - len(flagged))
    moments = set(zip(taken["card"].to_pylist(), taken["time"].to_pylist()))
    kept = [moment(row) in moments for row in (false_alarm, other, normal)]
    expect("rows kept in spite of their verdict", kept, [True, False, False])
    print(f"{len(told)} labels count in a sample")


def rows_without_a_past_are_shared_out(spark):
    """A detector for tables, which has neither entities nor times."""
    chance = random.Random(3)
    table = [{"width": chance.gauss(5, 1), "kind": chance.choice("abc")} for _ in range(600)]
    Path("table.ndjson").write_text("".join(json.dumps(row) + "\n" for row in table))
    Path("table.toml").write_text(
        'name = "table"\n[schema]\nnumeric = ["width"]\ncategorical = ["kind"]\n[detector]\nclean = true\n'
    )
    run("trainer", "train", "--unsigned", "--config", "table.toml", "--data", "table.ndjson", "--out", "table.wasm")
    replay = ["--replay", "table.ndjson", "--state", "other", "--lake", "lake"]
    run("host", "--allow-unsigned", "--module", "table.wasm", *replay)
    rows = listed_rows("table")
    found = by_offset(score.score(spark, "lake", "table", Path("table.wasm").read_bytes()))
    wanted = dict(zip(rows["twinge_offset"], zip(rows["twinge_score"].map(bits), rows["twinge_verdict"])))
    expect("scores of a table", {offset: found[offset][1:3] for offset in found}, wanted)
    print(f"{len(wanted)} scores without a past are the host's, bit for bit")


def what_cannot_be_is_refused(spark):
    module = Path("cards.wasm").read_bytes()
    manifest = twinge.manifest_of(module)
    schema, files = manifest["schema"], lake.listed(spark, "lake", "card-payments")
    fewer = dict(list(files.items())[1:])
    fewer[next(iter(fewer))] = {**fewer[next(iter(fewer))], "rows": 1}

    def read(of=files, **changes):
        return lambda: lake.rows(spark, "lake", of, {**schema, **changes})

    series = {**manifest, "schema": {**schema, "entity": None}}
    cases = [
        (lambda: score.columns_of_a_past(series, "time"), "cannot be shared out"),
        (read(numeric=["amuont"]), "no column `amuont` of double"),
        (read(numeric=["country"], categorical=[]), "no column `country` of double"),
        (read(entity="channel"), "do not come from the field `channel`"),
        (read(time="amount"), "do not come from the field `amount`"),
        (read(of=fewer), "are listed"),
        (lambda: lake.listed(spark, "lake", "unheard-of"), "has no folder"),
        (lambda: twinge.manifest_of(module[:-100]), "truncated"),
        (lambda: twinge.Detector(with_import(module)), "imports `env.now`"),
    ]
    for attempt, reason in cases:
        try:
            attempt()
        except twinge.Refused as refusal:
            assert reason in str(refusal), refusal
        else:
            sys.exit(f"what should be refused as `{reason}` is not")
    print(f"{len(cases)} things that cannot be are refused")


def evictions_are_told(spark, rows):
    manifest = twinge.manifest_of(Path("cards.wasm").read_bytes())
    entities = rows["twinge_entity"].nunique()
    scored = lake.rows(spark, "lake", lake.listed(spark, "lake", "card-payments"), manifest["schema"])
    for most, notes in ((entities, 0), (entities - 1, 1)):
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            score.tell_of_evictions(scored, {**manifest, "stream": {"entities_max": most}})
        expect("notes on evictions", told.getvalue().count(f"has {entities} entities"), notes)


def with_import(module):
    """A module with that one's manifest that asks for a function."""
    _, content = next(twinge.custom_sections(module))
    named = bytes([len("twinge.manifest")]) + b"twinge.manifest" + content
    size = bytes([len(named) >> 7 * place & 0x7F | 0x80 for place in range(4)] + [0])
    return bytes(wasmtime.wat2wasm('(module (import "env" "now" (func)))')) + b"\0" + size + named


def moment(row):
    return row["twinge_entity"], row["twinge_time"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def by_offset(frame):
    rows = frame.collect()
    found = {row["offset"]: (row["id"], bits(row["score"]), row["verdict"], row["late"]) for row in rows}
    assert len(found) == len(rows), "a row was scored twice"
    return found


def expect_sample(what, table, path, schema):
    """The rows of a sample as the trainer exports them: the same events in the same order."""
    names = [name for name in table.column_names if name != "label"]
    events = [json.loads(line) for line in Path(path).read_text().splitlines()]
    wanted = [tuple(cell(event.get(name), name in schema["numeric"]) for name in names) for event in events]
    found = [tuple(row[name] for name in names) for row in table.to_pylist()]
    expect(what, found, wanted)


def cell(value, is_number):
    """A value as the host reads it into a column of the lake."""
    if value in (None, ""):
        return None
    if is_number:
        return float(value)
    return str(value) if value != "2026-01-01T00:00:00.0004Z" else "2026-01-01T00:00:00.000Z"


def parts(module):
    """A module without what says which bytes it was made of."""
    manifest = twinge.manifest_of(module)
    told = next(content for _, content in twinge.custom_sections(module))
    del manifest["lineage"]["data_digest"]
    return manifest, module.replace(told, b"")


def expect(what, found, wanted):
    if found != wanted:
        sizes = [len(value) if hasattr(value, "__len__") else value for value in (found, wanted)]
        sys.exit(f"{what}: {sizes[0]} were found and {sizes[1]} expected, and they differ")


def bits(score):
    return struct.pack(">d", score).hex()


def run(program, *words):
    command = [PROGRAMS / program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"done in {time.monotonic() - began:.0f} s")
