//! Reads a manifest list whole, so that its lines can be carried into the next one.
//!
//! What must hold: what a line says comes out as it went in, for format versions 1 to 3; what an older version does not say is what the
//! specification says of it (version 1 has data files and sequence number 0 only).

use super::{Counts, FieldSummary, ManifestContent, ManifestFile};
use crate::error::Result;
use crate::format::avro::{Damage, Schema, Spans, broken, items, records};

/// The fields of a line, by place.
const FIELDS: [(&[i32], usize); 16] = [
    (&[500], 0),
    (&[501], 1),
    (&[502], 2),
    (&[517], 3),
    (&[515], 4),
    (&[516], 5),
    (&[503], 6),
    (&[504], 7),
    (&[505], 8),
    (&[506], 9),
    (&[512], 10),
    (&[513], 11),
    (&[514], 12),
    (&[507], 13),
    (&[519], 14),
    (&[520], 15),
];
const PATH: usize = 0;
const PARTITIONS: usize = 13;
const KEY: usize = 14;
const FIRST_ROW_ID: usize = 15;
/// Of a partition summary: null, NaN, lower and upper bound.
const SUMMARY: [i32; 4] = [509, 518, 510, 511];

/// The lines of a manifest list; `name` is its location, for errors.
pub fn read_list(bytes: &[u8], name: &str) -> Result<Vec<ManifestFile>> {
    let mut lines = Vec::new();
    let needed: &[(&[i32], &str)] = &[(&[500], "manifest_path"), (&[501], "manifest_length")];
    records(bytes, name, (&FIELDS, FIELDS.len(), needed), |schema, raw, spans| {
        lines.push(line(schema, raw, spans).map_err(|e| broken(name, e))?);
        Ok(())
    })?;
    Ok(lines)
}

fn line(schema: &Schema, raw: &[u8], spans: &Spans) -> Result<ManifestFile, Damage> {
    let long = |at: usize| Ok::<_, Damage>(spans.long(schema, raw, at)?.unwrap_or(0));
    let int = |at: usize| i32::try_from(long(at)?).map_err(|_| "a count is out of range");
    let mut partitions = Vec::new();
    items(schema, raw, spans.get(PARTITIONS), &SUMMARY, |summary| {
        let bound = |at| Ok::<_, Damage>(summary.bytes(schema, raw, at)?.map(<[u8]>::to_vec));
        partitions.push(FieldSummary {
            contains_null: summary.flag(schema, raw, 0)?.unwrap_or(true),
            contains_nan: summary.flag(schema, raw, 1)?,
            lower_bound: bound(2)?,
            upper_bound: bound(3)?,
        });
        Ok(())
    })?;
    Ok(ManifestFile {
        manifest_path: spans
            .text(schema, raw, PATH)?
            .filter(|path| !path.is_empty())
            .ok_or("a line has no manifest_path")?
            .to_owned(),
        manifest_length_bytes: long(1)?,
        partition_spec_id: int(2)?,
        content: if long(3)? == 0 { ManifestContent::Data } else { ManifestContent::Deletes },
        sequence_number: long(4)?,
        min_sequence_number: long(5)?,
        added_snapshot_id: long(6)?,
        counts: Counts {
            added_files: int(7)?,
            existing_files: int(8)?,
            deleted_files: int(9)?,
            added_rows: long(10)?,
            existing_rows: long(11)?,
            deleted_rows: long(12)?,
        },
        partitions: spans.get(PARTITIONS).is_there().then_some(partitions),
        key_metadata: spans.bytes(schema, raw, KEY)?.map(<[u8]>::to_vec),
        first_row_id: spans.long(schema, raw, FIRST_ROW_ID)?,
    })
}
