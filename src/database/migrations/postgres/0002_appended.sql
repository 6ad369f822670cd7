-- Which data files a table has, or ever had: what is appended once is not appended again, whatever became of the snapshot that brought it.
CREATE TABLE appended (
    catalog TEXT NOT NULL,
    table_uuid TEXT NOT NULL,
    -- grows with every row of a table
    number BIGINT NOT NULL,
    -- the append that these files are of; null for what was found in the table
    append_id TEXT,
    -- pending, done
    state TEXT NOT NULL,
    -- the table's last sequence number before it
    base_sequence_number BIGINT NOT NULL,
    -- snapshots that are known wholly, comma-separated
    snapshots TEXT NOT NULL,
    -- 16 bytes a file, in base64
    files TEXT NOT NULL,
    made_at_ms BIGINT NOT NULL,
    PRIMARY KEY (catalog, table_uuid, number)
);
