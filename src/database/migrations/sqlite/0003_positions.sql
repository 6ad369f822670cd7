-- Where readers of tables stand. `table_uuid` survives renames; `namespace` and `table_name` are what the table was last called.
-- `snapshot_id` is what the position still needs, -1 where it needs none; `holds_back` is 0 or 1.
CREATE TABLE positions (
    catalog         TEXT NOT NULL,
    table_uuid      TEXT NOT NULL,
    consumer        TEXT NOT NULL,
    version         INTEGER NOT NULL,
    position        TEXT NOT NULL,
    snapshot_id     INTEGER NOT NULL,
    holds_back      INTEGER NOT NULL,
    branch          TEXT NOT NULL,
    namespace       TEXT NOT NULL,
    table_name      TEXT NOT NULL,
    committed_by    TEXT NOT NULL,
    committed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (catalog, table_uuid, consumer)
) STRICT;
