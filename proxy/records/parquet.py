"""Records as Parquet: the schema, how columns are encoded, files written and read. The one module that knows pyarrow's writing side.

Rows are sorted by called number, then time. A row group has at most GROUP rows: a look-up of one number reads the four columns of one or
two groups whole, and of the others nothing but their statistics. Only the columns that are looked up by have statistics, since those of 50
columns and 300 groups would be a megabyte that every query reads first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from proxy.records.columns import COLUMNS, COUNT, NAMES, SORTED_BY, TEXT, TEXTS, TIME, Row

GROUP: Final = 32_768
"""Rows of a row group at the most."""

GROUP_BYTES: Final = 64 << 20
"""Octets of a row group, in memory, about at the most: header lines may be long."""

LEVEL: Final = 3
"""Of zstd: 9 takes three times as long for two hundredths less."""


def schema() -> Any:
    """The Arrow schema of COLUMNS."""
    import pyarrow as pa

    kinds = {TIME: pa.timestamp("ms", tz="UTC"), TEXT: pa.string(), TEXTS: pa.list_(pa.field("element", pa.string())), COUNT: pa.int64()}
    return pa.schema([pa.field(column.name, kinds[column.kind]) for column in COLUMNS])


def table(rows: Iterable[Row]) -> Any:
    """Rows as a table, sorted. Raises pyarrow.ArrowInvalid for values that are none of the schema."""
    import pyarrow as pa

    wanted = schema()
    columns = list(zip(*rows, strict=True)) or [()] * len(NAMES)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, wanted, strict=True)]
    return in_order(pa.Table.from_arrays(arrays, schema=wanted))


def in_order(rows: Any) -> Any:
    """A table sorted as files are."""
    import pyarrow.compute as pc

    return rows.take(pc.sort_indices(rows, sort_keys=[(*key, "at_end") for key in SORTED_BY]))


def writer(path: Path) -> Any:
    """A pyarrow.parquet.ParquetWriter with our encodings."""
    import pyarrow.parquet as pq

    wanted = schema()
    leaf = {column.name: f"{column.name}.list.element" if column.kind == TEXTS else column.name for column in COLUMNS}
    return pq.ParquetWriter(
        path,
        wanted,
        version="2.6",
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[leaf[column.name] for column in COLUMNS if column.few],
        column_encoding={
            leaf[column.name]: "DELTA_BINARY_PACKED"
            if column.kind in (TIME, COUNT)
            else "DELTA_BYTE_ARRAY"
            if column.name == "called"
            else "DELTA_LENGTH_BYTE_ARRAY"
            for column in COLUMNS
            if not column.few
        },
        write_statistics=[leaf[column.name] for column in COLUMNS if column.ranked],
        write_page_index=True,
        bloom_filter_options={"call_id": {"ndv": GROUP, "fpp": 0.05}, "caller": {"ndv": GROUP, "fpp": 0.05}},
        sorting_columns=pq.SortingColumn.from_ordering(wanted, [*SORTED_BY], null_placement="at_end"),
        store_schema=False,
    )


def write(file: Any, rows: Any) -> None:
    """Add a table, in row groups of the right size."""
    if rows.num_rows:
        file.write_table(rows, row_group_size=group_rows(rows.nbytes / rows.num_rows))


def group_rows(each: float) -> int:
    """How many rows a row group takes of `each` octets."""
    return max(64, min(GROUP, int(GROUP_BYTES / max(each, 1.0))))
