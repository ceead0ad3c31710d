//! Moments as records have them: RFC 3339, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Now.
pub fn utc_now() -> String {
    utc(OffsetDateTime::now_utc())
}

/// What the host's clock tells, in milliseconds since 1970: it may be set at any time.
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// A moment that a clock in UTC told; empty beyond the year 9999, for which there is no form.
pub fn utc(moment: impl Into<OffsetDateTime>) -> String {
    moment.into().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_files_time_and_now_have_the_same_form() {
        assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(1_721_362_140)), "2024-07-19T04:09:00Z");
        assert!(OffsetDateTime::parse(&utc_now(), &Rfc3339).is_ok());
    }
}
