//! The machine: file descriptors and the clock.

use std::time::SystemTime;

use super::finding::Finding;

/// A clock that differs by more is worth a warning: signed requests and tokens begin to fail at minutes, and time travel and
/// expiry are off by as much.
const SKEW_SECONDS_MAX: u64 = 5;

/// Descriptors beside those of requests: databases, stores, logs, the listener.
const DESCRIPTORS_BESIDE: u64 = 256;

/// Whether as many files may be open as requests at once need: the client's connection and one to what is behind.
pub(super) fn descriptors(concurrent_requests: u64) -> Finding {
    const CHECK: &str = "file descriptors";
    let needed = 2 * concurrent_requests + DESCRIPTORS_BESIDE;
    let limits = std::fs::read_to_string("/proc/self/limits").ok();
    match limits.as_deref().and_then(soft_limit) {
        None => Finding::skipped(CHECK, "", "this system does not tell its limit"),
        Some(limit) if limit >= needed => Finding::ok(CHECK, "", format!("{limit} may be open, {needed} are needed")),
        Some(limit) => Finding::warning(
            CHECK,
            "",
            format!("{limit} may be open, limits.concurrent-requests may need {needed}"),
            format!("run `ulimit -n {needed}` before, or set LimitNOFILE={needed} in the unit, or lower the limit"),
        ),
    }
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether two clocks, read at the same moment, agree.
pub(super) fn clock(subject: &str, clocks: Option<(SystemTime, SystemTime)>) -> Finding {
    const CHECK: &str = "clock";
    let Some((theirs, ours)) = clocks else {
        return Finding::skipped(CHECK, subject, "the upstream does not tell its time");
    };
    let (skew, which) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    // the header has whole seconds
    let seconds = skew.as_secs();
    if seconds <= SKEW_SECONDS_MAX {
        return Finding::ok(CHECK, subject, format!("within {SKEW_SECONDS_MAX} s of the upstream's"));
    }
    let message = format!("is {seconds} s {which} the upstream's");
    Finding::warning(CHECK, subject, message, "let chrony or systemd-timesyncd set the clock of both machines")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit("nothing"), None);
    }

    #[test]
    fn a_wrong_clock_is_worth_a_look() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(clock("x", Some((now, now + Duration::from_secs(5)))).status, Status::Ok);
        let wrong = clock("x", Some((now + Duration::from_secs(60), now)));
        assert_eq!((wrong.status, wrong.message.as_str()), (Status::Warning, "is 60 s behind the upstream's"));
        assert_eq!(clock("x", None).status, Status::Skipped);
    }
}
