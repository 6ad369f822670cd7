-- Expiries of snapshots that have begun: what the metadata at this place has and the table has not any more is expired, and its files may still be there.
CREATE TABLE expiries (
    catalog           TEXT COLLATE "C" NOT NULL,
    namespace         TEXT COLLATE "C" NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    uuid              TEXT COLLATE "C" NOT NULL,
    metadata_location TEXT COLLATE "C" NOT NULL,
    began_at_ms       BIGINT NOT NULL,
    PRIMARY KEY (catalog, namespace, name, metadata_location)
);

-- When the last round of a work of a policy began, so that of several servers one does the next.
CREATE TABLE maintenance_rounds (
    catalog     TEXT COLLATE "C" NOT NULL,
    policy      TEXT COLLATE "C" NOT NULL,
    work        TEXT COLLATE "C" NOT NULL,
    began_at_ms BIGINT NOT NULL,
    PRIMARY KEY (catalog, policy, work)
);
