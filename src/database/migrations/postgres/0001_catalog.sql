-- One row a catalog that this database holds; role and epoch are checked inside every transaction that moves a pointer.
CREATE TABLE catalogs (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role  TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    epoch BIGINT NOT NULL DEFAULT 1
);

-- `path` is the levels joined by U+001F, `parent` the path of the namespace above, null at the top.
CREATE TABLE namespaces (
    catalog    TEXT COLLATE "C" NOT NULL REFERENCES catalogs (name),
    path       TEXT COLLATE "C" NOT NULL,
    parent     TEXT COLLATE "C",
    properties TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (catalog, path),
    FOREIGN KEY (catalog, parent) REFERENCES namespaces (catalog, path)
);
CREATE INDEX namespaces_by_parent ON namespaces (catalog, parent, path);

-- Tables and views, which share their names. `kind` is 'table' or 'view'; `location` is the metadata's own.
CREATE TABLE pointers (
    catalog                    TEXT COLLATE "C" NOT NULL,
    namespace                  TEXT COLLATE "C" NOT NULL,
    name                       TEXT COLLATE "C" NOT NULL,
    kind                       TEXT COLLATE "C" NOT NULL,
    uuid                       TEXT COLLATE "C" NOT NULL,
    location                   TEXT COLLATE "C" NOT NULL,
    metadata_location          TEXT COLLATE "C" NOT NULL,
    previous_metadata_location TEXT,
    PRIMARY KEY (catalog, namespace, name),
    FOREIGN KEY (catalog, namespace) REFERENCES namespaces (catalog, path)
);
CREATE INDEX pointers_by_kind ON pointers (catalog, namespace, kind, name);

-- What writes with an Idempotency-Key were answered. A load result is kept as the metadata location that it showed.
CREATE TABLE outcomes (
    catalog           TEXT COLLATE "C" NOT NULL,
    principal         TEXT COLLATE "C" NOT NULL,
    key               TEXT COLLATE "C" NOT NULL,
    fingerprint       TEXT COLLATE "C" NOT NULL,
    status            BIGINT NOT NULL,
    body              TEXT COLLATE "C" NOT NULL,
    metadata_location TEXT,
    kept_at_ms        BIGINT NOT NULL,
    expires_at_ms     BIGINT NOT NULL,
    PRIMARY KEY (catalog, principal, key)
);
CREATE INDEX outcomes_by_expiry ON outcomes (expires_at_ms);

-- Dropped tables whose files are still to be deleted.
CREATE TABLE purges (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    catalog           TEXT COLLATE "C" NOT NULL,
    table_name        TEXT COLLATE "C" NOT NULL,
    location          TEXT COLLATE "C" NOT NULL,
    metadata_location TEXT COLLATE "C" NOT NULL,
    attempts          BIGINT NOT NULL DEFAULT 0,
    due_at_ms         BIGINT NOT NULL,
    last_error        TEXT
);
CREATE INDEX purges_by_due ON purges (due_at_ms);
