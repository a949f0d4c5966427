"""The cold archive: every record of every topic in Parquet files, lossless, one file per run of offsets."""
