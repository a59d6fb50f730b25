"""Records of calls: the journal's events joined to one row a call, kept by day as Parquet, and asked by `sipwarden traceback`.

`join` makes a record of the events of a call, `columns` says what a row has, `store` which files count; `compact` and `merge` write them,
as `compactor`, which the journal's keeper runs; `search` and `trace` find who sent a call, `audit` remembers who asked. pyarrow is imported
by the functions that need it: nothing else pays for it. What is older than the journal's retention the keeper removes, legal holds
respected.
"""
