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
