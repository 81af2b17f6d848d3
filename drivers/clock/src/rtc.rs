//! The device (MC146818A data sheet; the century's place is what every PC has used since).

use mmio::Ports;

use crate::date::Date;

/// Port of the register's number, and of its contents.
const INDEX: u16 = 0;
const DATA: u16 = 1;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const CENTURY: u8 = 0x32;

/// Status A: the registers are about to change, or changing.
const UPDATING: u8 = 0x80;
/// Status B: numbers are binary, not decimal digits.
const BINARY: u8 = 0x04;
/// Status B: hours from 0 to 23.
const DAY_OF_24_HOURS: u8 = 0x02;
/// Hours from 1 to 12: the second half of the day.
const AFTERNOON: u8 = 0x80;

/// An update takes two milliseconds at most; each look takes at least a tenth of a microsecond.
const LOOKS_MAX: u32 = 20_000;
/// Readings until two agree, at most.
const READINGS_MAX: u32 = 8;

/// Why there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcError {
    /// The caller's fault: fewer than two ports.
    TooFewPorts,
    /// The clock is for ever updating, or says something else at each reading: there is none, or it is broken.
    Unsteady,
    /// It says a time that does not exist: its battery is empty, or it was never set.
    Impossible,
}

/// A battery-backed clock.
#[derive(Debug)]
pub struct Rtc<P> {
    ports: P,
}

/// All registers of one reading.
type Reading = [u8; 7];

impl<P: Ports> Rtc<P> {
    /// The clock behind these two ports.
    ///
    /// # Errors
    /// [`RtcError::TooFewPorts`].
    pub fn new(ports: P) -> Result<Self, RtcError> {
        if ports.count() < 2 { Err(RtcError::TooFewPorts) } else { Ok(Self { ports }) }
    }

    /// What time it is. Takes up to two milliseconds.
    ///
    /// # Errors
    /// See [`RtcError`].
    pub fn read(&self) -> Result<Date, RtcError> {
        let mut before = self.reading()?;
        for _ in 0..READINGS_MAX {
            let again = self.reading()?;
            if again == before {
                return decode(again, self.register(STATUS_B)).ok_or(RtcError::Impossible);
            }
            before = again;
        }
        Err(RtcError::Unsteady)
    }

    fn register(&self, number: u8) -> u8 {
        self.ports.write_u8(INDEX, number);
        self.ports.read_u8(DATA)
    }

    /// One reading, begun while no update is near.
    fn reading(&self) -> Result<Reading, RtcError> {
        let steady = (0..LOOKS_MAX).any(|_| self.register(STATUS_A) & UPDATING == 0);
        if !steady {
            return Err(RtcError::Unsteady);
        }
        Ok([CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map(|number| self.register(number)))
    }
}

/// What a reading means, by the format that status B names.
fn decode([century, year, month, day, hours, minutes, seconds]: Reading, format: u8) -> Option<Date> {
    let number = |value: u8| match format & BINARY {
        0 if value & 0xf > 9 || value >> 4 > 9 => None,
        0 => Some((value >> 4) * 10 + (value & 0xf)),
        _ => Some(value),
    };
    let hour = match (format & DAY_OF_24_HOURS, number(hours & !AFTERNOON)?) {
        (0, hour @ 1..=12) => hour % 12 + if hours & AFTERNOON != 0 { 12 } else { 0 },
        (0, _) => return None,
        _ => number(hours)?,
    };
    // Old clocks have no century: theirs is the one in which this was written.
    let century = match number(century) {
        Some(century @ 19..=21) => u16::from(century),
        _ => 20,
    };
    let year = century * 100 + u16::from(number(year).filter(|year| *year < 100)?);
    Date::new((year, number(month)?, number(day)?), (hour, number(minutes)?, number(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// A clock whose registers are what a test wants; `step` is called before each reading of a register.
    struct Fake<'a> {
        registers: RefCell<[u8; 128]>,
        index: Cell<u8>,
        step: &'a dyn Fn(&mut [u8; 128], u8),
    }

    impl Ports for Fake<'_> {
        fn count(&self) -> u16 {
            2
        }
        fn read_u8(&self, offset: u16) -> u8 {
            assert_eq!(offset, DATA);
            (self.step)(&mut self.registers.borrow_mut(), self.index.get());
            self.registers.borrow()[usize::from(self.index.get())]
        }
        fn write_u8(&self, offset: u16, value: u8) {
            assert_eq!(offset, INDEX, "a clock that is only read is only told which register");
            self.index.set(value);
        }
    }

    fn registers(format: u8, reading: Reading) -> [u8; 128] {
        let mut registers = [0; 128];
        registers[usize::from(STATUS_B)] = format;
        for (number, value) in [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].into_iter().zip(reading) {
            registers[usize::from(number)] = value;
        }
        registers
    }

    fn read(registers: [u8; 128], step: &dyn Fn(&mut [u8; 128], u8)) -> Result<Date, RtcError> {
        let fake = Fake { registers: RefCell::new(registers), index: Cell::new(0), step };
        Rtc::new(&fake)?.read()
    }

    fn still(format: u8, reading: Reading) -> Result<Date, RtcError> {
        read(registers(format, reading), &|_, _| {})
    }

    fn expected() -> Result<Date, RtcError> {
        Date::new((2026, 11, 23), (15, 4, 59)).ok_or(RtcError::Impossible)
    }

    #[test]
    fn all_four_formats() {
        assert_eq!(still(DAY_OF_24_HOURS, [0x20, 0x26, 0x11, 0x23, 0x15, 0x04, 0x59]), expected());
        assert_eq!(still(DAY_OF_24_HOURS | BINARY, [20, 26, 11, 23, 15, 4, 59]), expected());
        assert_eq!(still(0, [0x20, 0x26, 0x11, 0x23, 0x83, 0x04, 0x59]), expected());
        assert_eq!(still(BINARY, [20, 26, 11, 23, 0x83, 4, 59]), expected());
    }

    #[test]
    fn noon_and_midnight() {
        let hour = |hours| still(0, [0x20, 0x26, 0x11, 0x23, hours, 0, 0]).map(|date| date.seconds() / 3600 % 24);
        assert_eq!([hour(0x12), hour(0x92), hour(0x01), hour(0x91)], [Ok(0), Ok(12), Ok(1), Ok(23)]);
        assert_eq!([hour(0x13), hour(0x80)], [Err(RtcError::Impossible); 2]);
    }

    #[test]
    fn a_missing_century_is_ours() {
        assert_eq!(still(DAY_OF_24_HOURS, [0xff, 0x26, 0x11, 0x23, 0x15, 0x04, 0x59]), expected());
        assert_eq!(still(DAY_OF_24_HOURS, [0, 0x26, 0x11, 0x23, 0x15, 0x04, 0x59]), expected());
    }

    #[test]
    fn a_reading_across_a_tick_is_not_taken() {
        // The minute turns just after the minutes were read: 15:03:59 would read as 15:03:00 once.
        let ticked = Cell::new(false);
        let tick = |registers: &mut [u8; 128], number: u8| {
            if number == SECONDS && !ticked.replace(true) {
                registers[usize::from(MINUTES)] = 0x04;
                registers[usize::from(SECONDS)] = 0x00;
            }
        };
        let date = read(registers(DAY_OF_24_HOURS, [0x20, 0x26, 0x11, 0x23, 0x15, 0x03, 0x59]), &tick);
        assert_eq!(date.ok(), Date::new((2026, 11, 23), (15, 4, 0)));
    }

    #[test]
    fn an_update_is_waited_for_but_not_for_ever() {
        let looks = Cell::new(0);
        let update = |registers: &mut [u8; 128], number: u8| {
            if number == STATUS_A {
                looks.set(looks.get() + 1);
                registers[usize::from(STATUS_A)] = if looks.get() < 100 { UPDATING } else { 0 };
            }
        };
        let good = registers(DAY_OF_24_HOURS, [0x20, 0x26, 0x11, 0x23, 0x15, 0x04, 0x59]);
        assert_eq!(read(good, &update), expected());
        assert!(looks.get() >= 100);
        assert_eq!(read([0xff; 128], &|_, _| {}), Err(RtcError::Unsteady), "no device: all ones");
        let racing = |registers: &mut [u8; 128], number: u8| {
            if number == SECONDS {
                registers[usize::from(SECONDS)] = registers[usize::from(SECONDS)].wrapping_add(1) % 9;
            }
        };
        assert_eq!(read(good, &racing), Err(RtcError::Unsteady));
    }

    #[test]
    fn nonsense_is_no_time() {
        for reading in [
            [0x20, 0x26, 0x13, 0x23, 0x15, 0x04, 0x59],
            [0x20, 0x26, 0x11, 0x31, 0x15, 0x04, 0x59],
            [0x20, 0x26, 0x11, 0x23, 0x15, 0x04, 0x5a],
            [0x20, 0x26, 0x11, 0x23, 0x24, 0x04, 0x59],
            [0; 7],
        ] {
            assert_eq!(still(DAY_OF_24_HOURS, reading), Err(RtcError::Impossible), "{reading:x?}");
        }
    }
}
