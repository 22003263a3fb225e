"""From files, hub sets and rows in memory to token ids and batches."""
