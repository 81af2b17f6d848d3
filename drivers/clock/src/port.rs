//! The port's answers.

use abi::WORDS;
use abi::protocol::clock::{Error, Request, WallTime};
use mmio::Ports;

use crate::rtc::Rtc;

/// Tag and words of the answer to a request with this tag; `None` stands for a machine without a clock.
pub fn answer<P: Ports>(rtc: Option<&Rtc<P>>, tag: u64) -> (u64, [u64; WORDS]) {
    let answered = match Request::from_bits(tag) {
        None => Err(Error::BadRequest),
        Some(Request::Now) => rtc.and_then(|rtc| rtc.read().ok()).ok_or(Error::NoTime),
    };
    match answered {
        Ok(date) => (0, WallTime { seconds: date.seconds(), nanoseconds: 0 }.words()),
        Err(error) => (error as u64, [0; WORDS]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the same in every register.
    struct Constant(u8);

    impl Ports for Constant {
        fn count(&self) -> u16 {
            2
        }
        fn read_u8(&self, _: u16) -> u8 {
            self.0
        }
        fn write_u8(&self, _: u16, _: u8) {}
    }

    #[test]
    fn times_and_refusals() {
        let rtc = Rtc::new(Constant(0x12)).expect("two ports");
        let (tag, words) = answer(Some(&rtc), Request::Now as u64);
        // Status B says decimal digits and 24 hours: the twelfth of December 2012, 12:12:12.
        assert_eq!((tag, WallTime::from_words(words).map(|time| time.seconds)), (0, Some(1_355_314_332)));
        assert_eq!(answer(Some(&rtc), 7).0, Error::BadRequest as u64);
        assert_eq!(answer::<Constant>(None, 1).0, Error::NoTime as u64);
        let broken = Rtc::new(Constant(0xff)).expect("two ports");
        assert_eq!(answer(Some(&broken), 1).0, Error::NoTime as u64);
    }
}
