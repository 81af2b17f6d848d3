//! Dates of the Gregorian calendar and seconds since 1970.

/// The first and last year that the clock can mean.
const YEARS: core::ops::RangeInclusive<u16> = 1970..=2199;

/// A second of a day that exists (invariant, checked by [`Date::new`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

impl Date {
    /// Year, month and day, hour, minute and second; `None` when there is no such second between 1970 and 2199.
    #[must_use]
    pub fn new(day: (u16, u8, u8), time: (u8, u8, u8)) -> Option<Self> {
        let ((year, month, day), (hour, minute, second)) = (day, time);
        let exists = YEARS.contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_of_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        exists.then_some(Self { year, month, day, hour, minute, second })
    }

    /// Seconds since 1970-01-01 00:00.
    #[must_use]
    pub fn seconds(self) -> u64 {
        let years = (*YEARS.start()..self.year).map(|year| if is_leap(year) { 366 } else { 365 });
        let months = (1..self.month).map(|month| u64::from(days_of_month(self.year, month)));
        let days = years.sum::<u64>() + months.sum::<u64>() + u64::from(self.day) - 1;
        ((days * 24 + u64::from(self.hour)) * 60 + u64::from(self.minute)) * 60 + u64::from(self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_seconds() {
        let seconds = |day, time| Date::new(day, time).expect("it exists").seconds();
        assert_eq!(seconds((1970, 1, 1), (0, 0, 0)), 0);
        assert_eq!(seconds((2000, 2, 29), (12, 0, 0)), 951_825_600);
        assert_eq!(seconds((2000, 3, 1), (0, 0, 0)), 951_868_800);
        assert_eq!(seconds((2038, 1, 19), (3, 14, 8)), 1 << 31);
        assert_eq!(seconds((2100, 3, 1), (0, 0, 0)), 4_107_542_400, "2100 is no leap year");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for day in
            [(1969, 12, 31), (2200, 1, 1), (2026, 0, 1), (2026, 13, 1), (2026, 4, 31), (2026, 2, 29), (2100, 2, 29)]
        {
            assert_eq!(Date::new(day, (0, 0, 0)), None, "{day:?}");
        }
        for time in [(24, 0, 0), (0, 60, 0), (0, 0, 60)] {
            assert_eq!(Date::new((2026, 1, 1), time), None, "{time:?}");
        }
        assert!(Date::new((2026, 1, 0), (0, 0, 0)).is_none());
    }

    proptest! {
        /// Later dates are later seconds, and the next day is 86,400 of them away.
        #[test]
        fn days_are_days(year in 1970u16..2199, month in 1u8..=12, day in 1u8..=31) {
            if let Some(date) = Date::new((year, month, day), (0, 0, 0)) {
                let next = Date::new((year, month, day + 1), (0, 0, 0))
                    .or_else(|| Date::new((year, month + 1, 1), (0, 0, 0)))
                    .or_else(|| Date::new((year + 1, 1, 1), (0, 0, 0)))
                    .expect("there is always a tomorrow");
                prop_assert_eq!(next.seconds(), date.seconds() + 86_400);
                prop_assert!(next > date);
            }
        }
    }
}
