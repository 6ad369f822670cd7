//! Where a file's footer is, and where its columns are.

use ::parquet::file::metadata::ColumnChunkMetaData;
use bytes::Bytes;

use super::{ENCRYPTED, Fault, damaged, refused};

/// What a file begins and ends with.
pub(in crate::format) const MAGIC: &[u8; 4] = b"PAR1";
/// The magic of a file whose footer is encrypted.
const MAGIC_ENCRYPTED: &[u8; 4] = b"PARE";

/// What was found in the last bytes of a file.
#[derive(Debug)]
pub(in crate::format) enum Tail {
    /// The footer.
    Footer(Bytes),
    /// It is longer than what was read: so many bytes from the end have it.
    Needs(usize),
}

/// Finds the footer in the last bytes of a file of `file_bytes`; it may have `bytes_max` at most.
pub(in crate::format) fn tail(last: &Bytes, file_bytes: u64, bytes_max: usize) -> Result<Tail, Fault> {
    let Some((rest, magic)) = last.split_last_chunk::<4>() else { return damaged("it is too short") };
    if magic == MAGIC_ENCRYPTED {
        return refused(ENCRYPTED);
    }
    if magic != MAGIC {
        return damaged("it does not begin and end in PAR1");
    }
    let Some((rest, length)) = rest.split_last_chunk::<4>() else { return damaged("it is too short") };
    let length = u32::from_le_bytes(*length) as usize;
    let needs = length.saturating_add(2 * MAGIC.len());
    if (needs + MAGIC.len()) as u64 > file_bytes {
        return damaged("its footer is larger than the file");
    }
    if length > bytes_max {
        return refused(format!("its footer is larger than {bytes_max} bytes"));
    }
    match rest.len().checked_sub(length) {
        Some(start) => Ok(Tail::Footer(last.slice(start..rest.len()))),
        None => Ok(Tail::Needs(needs)),
    }
}

/// From where to where one column of a row group lies, in a file whose data ends at `data_end`.
pub(in crate::format) fn place(data_end: u64, chunk: &ColumnChunkMetaData) -> Result<std::ops::Range<u64>, Fault> {
    let first = chunk.data_page_offset();
    // writers without a dictionary leave its offset out, or write 0
    let start = chunk.dictionary_page_offset().filter(|&at| at > 0 && at < first).unwrap_or(first);
    let end = start.checked_add(chunk.compressed_size());
    match (u64::try_from(start), end.map(u64::try_from)) {
        (Ok(start), Some(Ok(end))) if start >= MAGIC.len() as u64 && start <= end && end <= data_end => Ok(start..end),
        _ => damaged(format!("its column {} lies outside the file", chunk.column_path().string())),
    }
}
