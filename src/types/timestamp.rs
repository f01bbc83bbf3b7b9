//! Times as the service writes them.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::Number;

use super::lenient::{FromScalar, deserialize_scalar};

/// A point in time, kept as the string or number that the server sent.
///
/// The service does not document its format. This crate assumes RFC 3339, such as `2026-05-02T14:32:01.123456Z`, and
/// UTC if there is no offset. A number is Unix time. It is read as an `f64`, so integers beyond 2^53 are rounded, and
/// it may be written back with other digits, such as `1` for `1.0`.
///
/// Compare times with [`to_system_time`](Timestamp::to_system_time). Do not compare their strings: if offsets or
/// formats differ, the order of the strings is not that of the times.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// let created: atomiverse::Timestamp = serde_json::from_str(r#""2026-05-02T14:32:01Z""#)?;
/// let submitted = created.to_system_time().unwrap();
/// assert_eq!(submitted, SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_732_321));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timestamp {
    text: String,
    /// Whether the server sent a number.
    is_number: bool,
}

impl Timestamp {
    /// Returns the server's string, or the digits of its number.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the time, or `None` if it cannot be read.
    ///
    /// A string is read as RFC 3339. A space may replace the `T`, and a time without an offset is UTC. A number is Unix
    /// time, in seconds or, from 1e11 on, in milliseconds.
    ///
    /// A time that stands for a missing one, such as 0 or the year 1, is read like any other. Before you delete jobs by
    /// their age, look at the oldest.
    ///
    /// # Examples
    ///
    /// ```
    /// let local: atomiverse::Timestamp = serde_json::from_str(r#""2026-05-02T16:32:01+02:00""#)?;
    /// let utc: atomiverse::Timestamp = serde_json::from_str("1777732321")?;
    /// assert_eq!(local.to_system_time(), utc.to_system_time());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_system_time(&self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.to_unix()?;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
            _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
        };
        second?.checked_add(Duration::from_nanos(nanoseconds.into()))
    }

    /// Returns the time as a `jiff::Timestamp`, or `None` if it cannot be read.
    ///
    /// It reads the formats that [`to_system_time`](Timestamp::to_system_time) reads, up to the year 9999, and in
    /// addition those that `jiff` reads.
    #[cfg(feature = "jiff")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jiff")))]
    pub fn to_jiff(&self) -> Option<jiff::Timestamp> {
        self.try_into().ok()
    }

    /// Returns the seconds since 1970, rounded down, and the nanoseconds after that.
    fn to_unix(&self) -> Option<(i64, u32)> {
        if self.is_number { unix_number(&self.text) } else { rfc3339(&self.text) }
    }
}

fn unix_number(text: &str) -> Option<(i64, u32)> {
    let number: f64 = text.parse().ok()?;
    // As seconds, 1e11 is the year 5138. Milliseconds begin there and end in the same year.
    let units_per_second = match number.abs() {
        size if size < 1e11 => 1.0,
        size if size < 1e14 => 1e3,
        _ => return None,
    };
    let seconds = (number / units_per_second).floor();
    let fraction = (number - seconds * units_per_second) / units_per_second;
    // A fraction that rounds up to a whole second stays below it.
    let nanoseconds = (fraction * 1e9).round().min(999_999_999.0);
    Some((seconds as i64, nanoseconds as u32))
}

fn rfc3339(text: &str) -> Option<(i64, u32)> {
    let (date, time) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, ["-", "-", ""], [4, 2, 2])?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let [hour, minute, second] = numbers(clock, [":", ":", ""], [2, 2, 2])?;
    let days_in_month = days_since_1970(year, month + 1, 1) - days_since_1970(year, month, 1);
    let is_date = (1..=12).contains(&month) && (1..=days_in_month).contains(&day);
    // A leap second is read as the second after it.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanoseconds, offset) = match rest.strip_prefix(['.', ',']) {
        None => (0, rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let digits = &rest[..end.min(9)];
            let scale = 10_u32.pow(9 - u32::try_from(digits.len()).ok()?);
            (digits.parse::<u32>().ok()? * scale, &rest[end..])
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_seconds(offset)?, nanoseconds))
}

/// Reads `Z`, `+02:00`, `+0200`, `+02`, or nothing, which means UTC.
fn offset_seconds(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = match text.strip_prefix(['+', '-'])? {
        hours if hours.len() == 2 => numbers(hours, [""], [2]).map(|[hours]| [hours, 0])?,
        digits if digits.len() == 4 => numbers(digits, ["", ""], [2, 2])?,
        clock => numbers(clock, [":", ""], [2, 2])?,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Reads numbers of a fixed width, each followed by its separator.
fn numbers<const N: usize>(text: &str, separators: [&str; N], widths: [usize; N]) -> Option<[i64; N]> {
    let mut rest = text;
    let mut numbers = [0; N];
    for ((number, separator), width) in numbers.iter_mut().zip(separators).zip(widths) {
        let (digits, after) = rest.split_at_checked(width)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = digits.parse().ok()?;
        rest = after.strip_prefix(separator)?;
    }
    rest.is_empty().then_some(numbers)
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar. Month 13 is January of the next year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 153 days are five months, from March on; 719_468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(feature = "jiff")]
#[cfg_attr(docsrs, doc(cfg(feature = "jiff")))]
impl TryFrom<&Timestamp> for jiff::Timestamp {
    type Error = jiff::Error;

    fn try_from(timestamp: &Timestamp) -> Result<Self, Self::Error> {
        match timestamp.to_unix() {
            Some((seconds, nanoseconds)) => jiff::Timestamp::new(seconds, nanoseconds as i32),
            // jiff reads further formats, and describes what is wrong with any other.
            None => timestamp.text.parse(),
        }
    }
}

impl From<&str> for Timestamp {
    fn from(text: &str) -> Self {
        Timestamp { text: text.to_owned(), is_number: false }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text.parse::<Number>() {
            Ok(number) if self.is_number => number.serialize(serializer),
            _ => serializer.serialize_str(&self.text),
        }
    }
}

impl FromScalar for Timestamp {
    const EXPECTED: &str = "a timestamp: a string or a number";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
    fn from_number(seconds: f64) -> Option<Self> {
        // Negative zero would not be written back unchanged.
        Some(Timestamp { text: (seconds + 0.0).to_string(), is_number: true })
    }
}

deserialize_scalar!(Timestamp);
