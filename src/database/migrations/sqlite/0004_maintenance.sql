-- Expiries of snapshots that have begun: what the metadata at this place has and the table has not any more is expired, and its files may still be there.
CREATE TABLE expiries (
    catalog           TEXT NOT NULL,
    namespace         TEXT NOT NULL,
    name              TEXT NOT NULL,
    uuid              TEXT NOT NULL,
    metadata_location TEXT NOT NULL,
    began_at_ms       INTEGER NOT NULL,
    PRIMARY KEY (catalog, namespace, name, metadata_location)
) STRICT;

-- When the last round of a work of a policy began, so that of several servers one does the next.
CREATE TABLE maintenance_rounds (
    catalog     TEXT NOT NULL,
    policy      TEXT NOT NULL,
    work        TEXT NOT NULL,
    began_at_ms INTEGER NOT NULL,
    PRIMARY KEY (catalog, policy, work)
) STRICT;
