-- Where readers of tables stand. `table_uuid` survives renames; `namespace` and `table_name` are what the table was last called.
-- `snapshot_id` is what the position still needs, -1 where it needs none; `holds_back` is 0 or 1.
CREATE TABLE positions (
    catalog         TEXT COLLATE "C" NOT NULL,
    table_uuid      TEXT COLLATE "C" NOT NULL,
    consumer        TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    position        TEXT COLLATE "C" NOT NULL,
    snapshot_id     BIGINT NOT NULL,
    holds_back      BIGINT NOT NULL,
    branch          TEXT COLLATE "C" NOT NULL,
    namespace       TEXT COLLATE "C" NOT NULL,
    table_name      TEXT COLLATE "C" NOT NULL,
    committed_by    TEXT COLLATE "C" NOT NULL,
    committed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (catalog, table_uuid, consumer)
);
