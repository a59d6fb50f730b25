"""Records of calls: the journal's events joined to one row a call, kept by day as Parquet, and asked by `sipwarden traceback`.

`join` makes a record of the events of a call, `columns` says what a row has, `store` which files count, `compact` writes them, `retention`
removes them, `search` and `trace` find who sent a call, `audit` remembers who asked. pyarrow is imported by the functions that need it: only
the journal's keeper and the commands that read the history pay for it.
"""
