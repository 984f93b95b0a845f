"""Looks at a lake with DuckDB, pandas and pyarrow: each event once, with the score that was told.

Usage: check.py LAKE VERDICTS EVENTS
"""

import json
import sys

import duckdb
import pandas
import pyarrow.dataset

lake, verdicts, events = sys.argv[1], sys.argv[2], int(sys.argv[3])


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found}, and {wanted} was expected")


told = {}
with open(verdicts, encoding="utf-8") as lines:
    for line in lines:
        record = json.loads(line)
        told[record["id"]] = record["data"]["score"]
expect("verdicts that were told", len(told), events)

glob = f"{lake}/detector=*/date=*/hour=*/*.parquet"
database = duckdb.connect()
database.execute(
    "create view lake as select * from read_parquet(?, hive_partitioning = true, union_by_name = true)".replace(
        "?", "'" + glob.replace("'", "''") + "'"
    )
)
count, offsets, first, last, ids = database.sql(
    "select count(*), count(distinct twinge_offset), min(twinge_offset), max(twinge_offset), count(distinct twinge_id) from lake"
).fetchone()
expect("rows", count, events)
expect("different offsets", offsets, events)
expect("different ids", ids, events)
expect("first and last offset", (first, last), (0, events - 1))
misplaced = database.sql(
    "select count(*) from lake where strftime(twinge_time at time zone 'UTC', '%Y-%m-%d %H') <> strftime(date, '%Y-%m-%d') || ' ' || lpad(hour::varchar, 2, '0')"
).fetchone()[0]
expect("rows in a wrong hour", misplaced, 0)
wrong = sum(
    told[identity] != score
    for identity, score in database.sql("select twinge_id, twinge_score from lake").fetchall()
)
expect("scores that differ from what was told", wrong, 0)
missing = database.sql(
    "select count(*) from lake where amount is distinct from cast(json_extract(twinge_event, '$.amount') as double) or country is distinct from json_extract_string(twinge_event, '$.country')"
).fetchone()[0]
expect("fields that differ from the event", missing, 0)

table = pyarrow.dataset.dataset(f"{lake}/detector=card-payments", partitioning="hive")
expect("rows by pyarrow", table.count_rows(), events)
frame = pandas.read_parquet(
    f"{lake}/detector=card-payments", columns=["amount", "country", "twinge_score", "twinge_verdict"]
)
expect("rows by pandas", len(frame), events)
expect("lowest score is a number", bool((frame["twinge_score"] >= 0).all()), True)

files = len(table.files)
print(f"DuckDB, pyarrow and pandas find {count} rows in {files} files")
