-- One row a catalog that this database holds; role and epoch are checked inside every transaction that moves a pointer.
CREATE TABLE catalogs (
    name  TEXT NOT NULL PRIMARY KEY,
    role  TEXT NOT NULL DEFAULT 'primary',
    epoch INTEGER NOT NULL DEFAULT 1
) STRICT;

-- `path` is the levels joined by U+001F, `parent` the path of the namespace above, null at the top.
CREATE TABLE namespaces (
    catalog    TEXT NOT NULL REFERENCES catalogs (name),
    path       TEXT NOT NULL,
    parent     TEXT,
    properties TEXT NOT NULL,
    PRIMARY KEY (catalog, path),
    FOREIGN KEY (catalog, parent) REFERENCES namespaces (catalog, path)
) STRICT;
CREATE INDEX namespaces_by_parent ON namespaces (catalog, parent, path);

-- Tables and views, which share their names. `kind` is 'table' or 'view'; `location` is the metadata's own.
CREATE TABLE pointers (
    catalog                    TEXT NOT NULL,
    namespace                  TEXT NOT NULL,
    name                       TEXT NOT NULL,
    kind                       TEXT NOT NULL,
    uuid                       TEXT NOT NULL,
    location                   TEXT NOT NULL,
    metadata_location          TEXT NOT NULL,
    previous_metadata_location TEXT,
    PRIMARY KEY (catalog, namespace, name),
    FOREIGN KEY (catalog, namespace) REFERENCES namespaces (catalog, path)
) STRICT;
CREATE INDEX pointers_by_kind ON pointers (catalog, namespace, kind, name);

-- What writes with an Idempotency-Key were answered. A load result is kept as the metadata location that it showed.
CREATE TABLE outcomes (
    catalog           TEXT NOT NULL,
    principal         TEXT NOT NULL,
    key               TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    status            INTEGER NOT NULL,
    body              TEXT NOT NULL,
    metadata_location TEXT,
    kept_at_ms        INTEGER NOT NULL,
    expires_at_ms     INTEGER NOT NULL,
    PRIMARY KEY (catalog, principal, key)
) STRICT;
CREATE INDEX outcomes_by_expiry ON outcomes (expires_at_ms);

-- Dropped tables whose files are still to be deleted.
CREATE TABLE purges (
    id                TEXT NOT NULL PRIMARY KEY,
    catalog           TEXT NOT NULL,
    table_name        TEXT NOT NULL,
    location          TEXT NOT NULL,
    metadata_location TEXT NOT NULL,
    attempts          INTEGER NOT NULL DEFAULT 0,
    due_at_ms         INTEGER NOT NULL,
    last_error        TEXT
) STRICT;
CREATE INDEX purges_by_due ON purges (due_at_ms);
