"""The archive: closed days as Parquet files, in a folder or in a store that speaks S3."""
