//! Durations, sizes, URIs and addresses as people write them.
//!
//! Each function takes a text and gives the value, or says what to write instead.

use std::net::SocketAddr;
use std::time::Duration;

use super::schema::Form;

/// The units of a duration, in milliseconds; the longest unit that fits is the first when one is printed.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The units of a size, in bytes.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

/// Whether a text is what a scalar key of this form needs; the error says what to write instead.
pub(super) fn check(form: Form, text: &str) -> Result<(), String> {
    match form {
        Form::Bool => flag(text).map(drop),
        Form::Integer(min, max) => integer(text, min, max).map(drop),
        Form::Duration => duration(text).map(drop),
        Form::Size => size(text).map(drop),
        Form::Uri(schemes) => uri(text, schemes).map(drop),
        Form::Address => address(text).map(drop),
        Form::Choice(words) => choice(text, words),
        Form::ChoiceOrSection(words) => choice(text, words).map_err(|e| format!("{e}, or the keys of a section")),
        Form::Text | Form::Path if text.is_empty() => Err("it is empty: write a value or leave the key out".into()),
        _ => Ok(()),
    }
}

/// `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false: write one of them")),
    }
}

/// A whole number in a range.
pub(super) fn integer(text: &str, min: u64, max: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
    }
}

/// `250ms`, `5s`, `2m`, `1h`, `1d`, or `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    with_unit(text, &DURATION_UNITS).map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is not a duration: write a whole number and a unit, such as 250ms, 5s, 2m, 1h or 1d")
    })
}

/// `512B`, `64KiB`, `32MiB`, `1GiB`, also `MB` and plain bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    with_unit(text, &SIZE_UNITS)
        .ok_or_else(|| format!("{text:?} is not a size: write a whole number and a unit, such as 64KiB, 32MiB or 1GiB"))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration as [`duration`] reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = DURATION_UNITS.iter().find(|(_, factor)| ms > 0 && ms % factor == 0);
    whole.map_or_else(|| "0s".to_owned(), |(unit, factor)| format!("{}{unit}", ms / factor))
}

/// A URI with one of the schemes, without a name and password in it.
pub(super) fn uri(text: &str, schemes: &[&str]) -> Result<String, String> {
    let wanted = || format!("write {}", schemes.iter().map(|s| format!("{s}://…")).collect::<Vec<_>>().join(" or "));
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(format!("{text:?} is not a URI: {}", wanted()));
    };
    if !schemes.contains(&scheme) {
        return Err(format!("a URI of scheme {scheme:?} cannot be used here: {}", wanted()));
    }
    if scheme == "file" {
        // a local path may hold spaces, which every engine takes as they are
        return if rest.starts_with('/') && !text.contains(char::is_control) {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not absolute: write file:///path/of/the/folder"))
        };
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URI holds no spaces: write them as %20".into());
    }
    let Some(authority) = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or("")) else {
        return Err(format!("{text:?} is not a URI: {}", wanted()));
    };
    if authority.contains('@') {
        return Err("a URI holds no name and password here: give them in the keys beside it".into());
    }
    if authority.is_empty() {
        return Err(format!(
            "the URI names no {}: {}",
            if scheme.starts_with("http") { "host" } else { "bucket" },
            wanted()
        ));
    }
    if scheme.starts_with("http") && text.parse::<http::Uri>().is_err() {
        return Err(format!("{text:?} is not a URI: {}", wanted()));
    }
    Ok(text.to_owned())
}

/// An IP address and a port; `localhost` is 127.0.0.1.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| {
        format!("{text:?} is not an address: write an IP address and a port, such as 127.0.0.1:8181, 0.0.0.0:8181 or [::1]:8181")
    })
}

fn choice(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) { Ok(()) } else { Err(format!("{text:?} is not known: write {}", words.join(" or "))) }
}

/// The digest of a token: 64 hexadecimal digits.
pub(super) fn digest(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "it is not the SHA-256 of a token: write 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints them";
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong().into());
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_parse() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1 d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, bytes) in
            [("0", 0), ("512B", 512), ("64KiB", 65_536), ("32MiB", 33_554_432), ("1GB", 1_000_000_000), ("7", 7)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "s", "5", "-5s", "1.5s", "5 parsecs", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "MiB", "-1", "1.5GiB", "1 potato", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_printed_duration_is_read_back() {
        for ms in [0, 1, 250, 1_000, 90_000, 60_000, 3_600_000, 86_400_000] {
            let duration_in = Duration::from_millis(ms);
            assert_eq!(duration(&duration_text(duration_in)), Ok(duration_in));
        }
    }

    #[test]
    fn bad_uris_are_told_apart() {
        let web = &["http", "https"];
        assert!(uri("https://catalog.example/iceberg", web).is_ok());
        assert!(uri("http://[::1]:8181", web).is_ok());
        for wrong in
            ["catalog.example", "ftp://host", "http://", "http:///path", "https://user:word@host/", "http://a b/"]
        {
            assert!(uri(wrong, web).is_err(), "{wrong}");
        }
        assert!(uri("file:/data", &["file", "s3"]).is_ok());
        assert!(uri("file:data", &["file", "s3"]).is_err());
        assert!(uri("s3:///key", &["file", "s3"]).is_err());
    }

    #[test]
    fn addresses_are_numeric() {
        assert_eq!(address("localhost:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        for wrong in ["8181", "example.com:80", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
