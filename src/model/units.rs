use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use time::{Date, format_description::well_known::Iso8601};

/// Milliseconds: a length of time, or a moment counted from a run's first event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const ZERO: Millis = Millis(0);

    pub const fn from_secs(seconds: u64) -> Self {
        Millis(seconds.saturating_mul(1000))
    }

    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The time from `earlier` to `self`, zero if it lies ahead.
    pub const fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    pub fn scaled(self, factor: f64) -> Millis {
        Millis((self.0 as f64 * factor) as u64)
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

/// `840 ms`, `4.2 s`, `3m 05s`, `2h 04m`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let text = match ms {
            0..1000 => format!("{ms} ms"),
            1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
            60_000..3_600_000 => format!("{}m {:02}s", ms / 60_000, ms % 60_000 / 1000),
            _ => format!("{}h {:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        };
        f.pad(&text)
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `7d`, `1.5s`; a bare number is refused, because nobody knows its unit.
impl FromStr for Millis {
    type Err = ParseUnitError;
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let wrong =
            || ParseUnitError { text: text.to_owned(), wanted: "a length of time such as 500ms, 30s, 5m, 1h or 7d" };
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" | "min" => 60e3,
            "h" => 3600e3,
            "d" => 86_400e3,
            _ => return Err(wrong()),
        };
        let ms = number * factor;
        if ms > 1e12 { Err(wrong()) } else { Ok(Millis(ms.round() as u64)) }
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    pub const fn mib(n: u64) -> Self {
        Bytes(n * Self::MIB)
    }
}

/// `512 B`, `1.5 KiB`, `256 MiB`, `20.0 GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..Self::KIB => return f.pad(&format!("{} B", self.0)),
            Self::KIB..Self::MIB => (Self::KIB, "KiB"),
            Self::MIB..Self::GIB => (Self::MIB, "MiB"),
            _ => (Self::GIB, "GiB"),
        };
        let text = if self.0.is_multiple_of(unit) {
            format!("{} {name}", self.0 / unit)
        } else {
            format!("{:.1} {name}", self.0 as f64 / unit as f64)
        };
        f.pad(&text)
    }
}

/// Reads `4096B`, `512KiB`, `256MiB`, `8GiB` (binary units; `MB` and the like are refused as ambiguous).
impl FromStr for Bytes {
    type Err = ParseUnitError;
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let wrong = || ParseUnitError { text: text.to_owned(), wanted: "a size such as 256MiB or 8GiB" };
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let factor = match unit {
            "B" => 1,
            "KiB" => Self::KIB,
            "MiB" => Self::MIB,
            "GiB" => Self::GIB,
            _ => return Err(wrong()),
        };
        let bytes = number * factor as f64;
        if bytes > 1e15 { Err(wrong()) } else { Ok(Bytes(bytes.round() as u64)) }
    }
}

/// Text that is not a number with one of the known units.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct ParseUnitError {
    pub text: String,
    pub wanted: &'static str,
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..at].parse().ok()?;
    Some((number, text[at..].trim_start()))
}

/// A day as people write it: `2026-11-25`. None: it is none. ISO 8601 has days counted by weeks, and by the year, too.
pub fn parse_day(text: &str) -> Option<Date> {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    if !shape.eq(*b"0000-00-00") {
        return None;
    }
    Date::parse(text, &Iso8601::DATE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_with_their_units_and_refused_without() {
        assert_eq!("1.5s".parse::<Millis>().unwrap(), Millis(1500));
        assert_eq!("2 min".parse::<Millis>().unwrap(), Millis(120_000));
        assert_eq!("256MiB".parse::<Bytes>().unwrap(), Bytes::mib(256));
        for wrong in ["30", "", "s", "-1s", "1e9s", "10days", "..s", "99999999999h"] {
            assert!(wrong.parse::<Millis>().is_err(), "{wrong} was taken as a time");
        }
        for wrong in ["256", "256MB", "MiB", "1.2.3GiB", "99999999GiB"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong} was taken as a size");
        }
    }

    #[test]
    fn times_and_sizes_are_shown_as_people_write_them() {
        let shown: Vec<String> = [840, 4_230, 185_000, 7_440_000].map(|ms| Millis(ms).to_string()).into();
        assert_eq!(shown, ["840 ms", "4.2 s", "3m 05s", "2h 04m"]);
        assert_eq!(Bytes::mib(256).to_string(), "256 MiB");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
    }

    #[test]
    fn a_day_is_a_year_a_month_and_a_day() {
        assert_eq!(parse_day("2026-11-25"), Some(time::macros::date!(2026 - 11 - 25)));
        for wrong in ["2026-W48-3", "2026-329", "20261125", "2026-11-31", "2026-11-25T00:00:00Z", "soon", ""] {
            assert_eq!(parse_day(wrong), None, "{wrong} was taken as a day");
        }
    }
}
