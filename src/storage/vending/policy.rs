//! A session policy: reading below some places, and nothing else.
//!
//! What must hold: nothing outside of the places can be read or listed, whatever their names are; nothing can be written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};

/// The longest policy that STS takes.
const POLICY_BYTES_MAX: usize = 2048;
/// The partition of AWS where a role does not say another.
const PARTITION: &str = "aws";

/// The text of a policy to read what lies below these keys, each with its bucket, decrypted by these keys of KMS. `role_arn` says in which partition
/// of AWS.
pub(super) fn read_only(places: &[(&str, &str)], kms_keys: &[String], role_arn: Option<&str>) -> Result<String> {
    let partition = role_arn.and_then(|arn| arn.split(':').nth(1)).filter(|it| !it.is_empty()).unwrap_or(PARTITION);
    let mut below: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (bucket, key) in places {
        if [bucket, key].iter().any(|name| name.contains(['*', '?']) || name.contains("${")) {
            let message = format!(
                "s3://{bucket}/{key} holds '*', '?' or '${{', by which a policy would mean other places as well"
            );
            return Err(Error::new(Kind::Unprocessable, message));
        }
        // with the slash: a neighbour's name may begin with all of this one
        let all_below = if key.is_empty() { "*".to_owned() } else { format!("{key}/*") };
        below.entry(bucket).or_default().push(all_below);
    }
    let arn = |rest: &str| format!("arn:{partition}:s3:::{rest}");
    let objects = below.iter().flat_map(|(bucket, keys)| keys.iter().map(move |key| format!("{bucket}/{key}")));
    let objects: Vec<String> = objects.map(|object| arn(&object)).collect();
    let mut statements = vec![json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects})];
    statements.extend(below.iter().flat_map(|(bucket, keys)| bucket_statements(&arn(bucket), keys)));
    if !kms_keys.is_empty() {
        statements.push(json!({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": kms_keys}));
    }
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    if text.len() > POLICY_BYTES_MAX {
        let message = format!(
            "the policy for {} places has {} bytes, more than the {POLICY_BYTES_MAX} that STS takes: shorten their names",
            places.len(),
            text.len()
        );
        return Err(Error::new(Kind::Unprocessable, message));
    }
    Ok(text)
}

fn bucket_statements(bucket: &str, keys: &[String]) -> [Value; 2] {
    [
        json!({"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": bucket}),
        json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket, "Condition": {"StringLike": {"s3:prefix": keys}}}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_for_what_lies_below_and_for_reading_only() {
        let text =
            read_only(&[("lake", "dr/shop/orders"), ("lake", "overlay/u"), ("own", "")], &[], None).expect("a policy");
        let expected = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject",
             "Resource": ["arn:aws:s3:::lake/dr/shop/orders/*", "arn:aws:s3:::lake/overlay/u/*", "arn:aws:s3:::own/*"]},
            {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": "arn:aws:s3:::lake"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::lake",
             "Condition": {"StringLike": {"s3:prefix": ["dr/shop/orders/*", "overlay/u/*"]}}},
            {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": "arn:aws:s3:::own"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::own",
             "Condition": {"StringLike": {"s3:prefix": ["*"]}}},
        ]});
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), expected);
        let china =
            read_only(&[("b", "k")], &["arn:key".to_owned()], Some("arn:aws-cn:iam::1:role/r")).expect("a policy");
        assert!(china.contains("arn:aws-cn:s3:::b/k/*"));
        assert!(china.ends_with(r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":["arn:key"]}]}"#), "{china}");
    }

    #[test]
    fn what_a_policy_cannot_say_is_refused() {
        for key in ["a*", "a?/b", "${aws:username}"] {
            assert!(read_only(&[("b", key)], &[], None).expect_err(key).message().contains("s3://b/"));
        }
        let long = "x".repeat(500);
        let places: Vec<(&str, &str)> = (0..3).map(|_| ("b", long.as_str())).collect();
        assert!(read_only(&places, &[], None).expect_err("too long").message().contains("3 places"));
    }
}
