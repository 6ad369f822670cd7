//! Manifests for S3 Batch Operations: `bucket,key`, the key URL-encoded.
//!
//! A batch copy keeps every key and can only put one prefix before all of them, from one bucket into one bucket
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-copy-object.html>); a plan that wants more is refused.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::parts::Place;
use crate::error::{Error, Kind, Result};
use crate::table::relocate::LiveFile;

/// Larger objects are not copied by a batch.
const OBJECT_BYTES_MAX: u64 = 5 << 30;
/// What stays as it is in a key.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// What all lines of a manifest have in common.
#[derive(Default)]
pub(super) struct Batch {
    common: Option<Common>,
    too_large: u64,
}

#[derive(PartialEq, Eq)]
struct Common {
    source_bucket: String,
    target_bucket: String,
    /// Empty, or ends in a slash.
    prefix: String,
}

impl Batch {
    pub(super) fn line(&mut self, file: &LiveFile) -> Result<String> {
        let (source, target) = (Place::of(&file.source, "S3 Batch")?, Place::of(&file.target, "S3 Batch")?);
        let (Place::S3 { bucket, key }, Place::S3 { bucket: target_bucket, key: target_key }) = (source, target) else {
            return Err(refused(file, "copies from S3 to S3 only"));
        };
        let prefix = target_key.strip_suffix(key).filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
        let Some(prefix) = prefix.filter(|_| !key.is_empty()) else {
            return Err(refused(file, "keeps every key, or puts one prefix before it"));
        };
        let common =
            Common { source_bucket: bucket.into(), target_bucket: target_bucket.into(), prefix: prefix.into() };
        match &self.common {
            Some(known) if *known != common => {
                return Err(refused(
                    file,
                    &format!(
                        "copies from one bucket into one bucket below one prefix, and other files go from {:?} to {:?} below {:?}",
                        known.source_bucket, known.target_bucket, known.prefix
                    ),
                ));
            }
            Some(_) => {}
            None => self.common = Some(common),
        }
        self.too_large += u64::from(file.size_bytes.is_some_and(|size| size > OBJECT_BYTES_MAX));
        // names of buckets need no quotes
        Ok(format!("{bucket},{}", utf8_percent_encode(key, KEY)))
    }

    /// What to tell the job.
    pub(super) fn notes(&self) -> Vec<String> {
        let Some(Common { target_bucket, prefix, .. }) = &self.common else { return Vec::new() };
        let mut notes = vec![format!("destination bucket (TargetResource): arn:aws:s3:::{target_bucket}")];
        match prefix.trim_end_matches('/') {
            "" => notes.push("no destination prefix (TargetKeyPrefix)".to_owned()),
            prefix => notes.push(format!("destination prefix (TargetKeyPrefix): {prefix}")),
        }
        notes.push("fields of the manifest: Bucket, Key".to_owned());
        if self.too_large > 0 {
            notes.push(format!(
                "{} files are larger than 5 GiB, which a batch does not copy: plan again after it, with another format",
                self.too_large
            ));
        }
        notes
    }
}

fn refused(file: &LiveFile, why: &str) -> Error {
    let message = format!(
        "S3 Batch {why}; {:?} would go to {:?}: use another --copy-plan-format, such as s5cmd",
        file.source, file.target
    );
    Error::new(Kind::Unprocessable, message)
}
