//! Chinese days, which "D+N" counts, and times as people write them.
//!
//! China has one time zone and no summer time, so a day is plain arithmetic at UTC+8. It knows no
//! clock: every time is unix time in milliseconds.

pub(super) const DAY_MS: u64 = 86_400_000;
const UTC_PLUS_8_MS: u64 = 8 * 3_600_000;

/// From when on something that happened at this moment may be settled under "D+N".
///
/// N natural days later means from midnight on, whatever the hour; D+0 means at once. That the
/// beginning of the day counts, and not its end, is a guess.
pub(super) fn due_at_ms(happened_at_ms: u64, days: u16) -> u64 {
    if days == 0 {
        return happened_at_ms;
    }
    let day = (happened_at_ms + UTC_PLUS_8_MS) / DAY_MS;
    (day + u64::from(days)) * DAY_MS - UTC_PLUS_8_MS
}

/// `2023-11-15 06:13:20.000` in China.
pub(super) fn text(at_ms: u64) -> String {
    let local_ms = at_ms.saturating_add(UTC_PLUS_8_MS);
    let (year, month, day) = date(local_ms / DAY_MS);
    let ms = local_ms % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let ms = ms % 1_000;
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}

/// `2023-11-15 06:13:20` in China.
pub(super) fn second(at_ms: u64) -> String {
    let mut text = text(at_ms);
    text.truncate("2023-11-15 06:13:20".len());
    text
}

/// Year, month and day of the nth day since 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last one of its year; an era is the
    // 400 years after which the calendar repeats (Howard Hinnant's "civil from days").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-15 06:13:20 in China, 2023-11-14 22:13:20 in Greenwich.
    const MORNING_MS: u64 = 1_700_000_000_000;

    #[test]
    fn the_nth_day_begins_at_midnight_in_china() {
        assert_eq!(due_at_ms(MORNING_MS, 0), MORNING_MS);
        assert_eq!(text(due_at_ms(MORNING_MS, 1)), "2023-11-16 00:00:00.000");
        assert_eq!(text(due_at_ms(MORNING_MS, 3)), "2023-11-18 00:00:00.000");
        let (midnight, last_ms) = (due_at_ms(MORNING_MS, 1), due_at_ms(MORNING_MS, 2) - 1);
        assert_eq!(due_at_ms(midnight, 1), due_at_ms(last_ms, 1));
        assert_eq!(text(due_at_ms(last_ms, 1)), "2023-11-17 00:00:00.000");
    }

    #[test]
    fn times_are_written_as_in_china() {
        assert_eq!(text(0), "1970-01-01 08:00:00.000");
        assert_eq!(text(MORNING_MS), "2023-11-15 06:13:20.000");
        // Leap days, also the one of 2000, and the days around them.
        assert_eq!(text(951_753_600_000), "2000-02-29 00:00:00.000");
        assert_eq!(text(1_709_135_999_999), "2024-02-28 23:59:59.999");
        assert_eq!(text(1_709_136_000_000), "2024-02-29 00:00:00.000");
        assert_eq!(text(1_709_222_400_000), "2024-03-01 00:00:00.000");
        assert_eq!(text(4_107_427_200_000), "2100-02-28 00:00:00.000");
        assert_eq!(text(4_107_513_600_000), "2100-03-01 00:00:00.000");
    }
}
