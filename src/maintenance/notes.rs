//! Notes of expiries that have begun, so that one that is cut off after its commit is finished by the next.
//!
//! A note says where a table's metadata was. What that has and the table has not any more is expired, whoever expired it, so a note can
//! never lead to a wrong deletion; at worst there is nothing to do.

use futures::FutureExt;

use crate::database::Database;
use crate::error::Result;
use crate::model::{CatalogName, Ident};
use crate::upstream::asking::Loaded;

/// Notes of one table that are looked at in one run.
const NOTES_MAX: i64 = 100;

/// An expiry that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    ident: Ident,
    /// The table's.
    pub(super) uuid: String,
    /// The metadata that it began at.
    pub(super) metadata_location: String,
}

impl Note {
    /// `None` where the catalog does not say where the metadata is.
    pub(super) fn of(ident: &Ident, before: &Loaded) -> Option<Note> {
        let uuid = before.metadata["table-uuid"].as_str()?.to_owned();
        Some(Note { ident: ident.clone(), uuid, metadata_location: before.metadata_location.clone()? })
    }
}

/// The notes of one catalog.
pub(super) struct Notes {
    database: Database,
    catalog: CatalogName,
}

impl Notes {
    pub(super) fn new(database: Database, catalog: CatalogName) -> Notes {
        Notes { database, catalog }
    }

    /// Notes that an expiry begins.
    pub(super) async fn begin(&self, note: &Note, at_ms: i64) -> Result<()> {
        let sql = "INSERT INTO expiries (catalog, namespace, name, uuid, metadata_location, began_at_ms) VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT DO NOTHING";
        let values = (self.catalog.to_string(), note.ident.namespace.joined(), note.clone());
        let write = self.database.write(move |t| {
            let (catalog, namespace, note) = values.clone();
            async move {
                let Note { ident, uuid, metadata_location } = &note;
                t.execute(
                    sql,
                    &[
                        (&catalog).into(),
                        (&namespace).into(),
                        (&ident.name).into(),
                        uuid.into(),
                        metadata_location.into(),
                        at_ms.into(),
                    ],
                )
                .await
            }
            .boxed()
        });
        write.await.map(drop)
    }

    /// Takes the note of one that is done back.
    pub(super) async fn end(&self, note: &Note) -> Result<()> {
        let sql = "DELETE FROM expiries WHERE catalog = $1 AND namespace = $2 AND name = $3 AND metadata_location = $4";
        let values = (self.catalog.to_string(), note.ident.namespace.joined(), note.clone());
        let write = self.database.write(move |t| {
            let (catalog, namespace, note) = values.clone();
            async move {
                let values = [
                    (&catalog).into(),
                    (&namespace).into(),
                    (&note.ident.name).into(),
                    (&note.metadata_location).into(),
                ];
                t.execute(sql, &values).await
            }
            .boxed()
        });
        write.await.map(drop)
    }

    /// The oldest of those of a table that have begun and not ended, as far as anybody knows.
    pub(super) async fn of(&self, ident: &Ident) -> Result<Vec<Note>> {
        let sql = "SELECT uuid, metadata_location FROM expiries WHERE catalog = $1 AND namespace = $2 AND name = $3 \
                   ORDER BY began_at_ms, metadata_location LIMIT $4";
        let (catalog, namespace) = (self.catalog.to_string(), ident.namespace.joined());
        let values = [(&catalog).into(), (&namespace).into(), (&ident.name).into(), NOTES_MAX.into()];
        let rows = self.database.read(sql, &values).await?;
        let note = |row: &crate::database::Row| {
            Ok(Note { ident: ident.clone(), uuid: row.text(0)?.to_owned(), metadata_location: row.text(1)?.to_owned() })
        };
        rows.iter().map(note).collect()
    }
}
