//! The 16550 (National Semiconductor PC16550D): eight ports, sixteen bytes of buffer in each direction.

use mmio::Ports;

use crate::server::Line;

/// Ports that the device has.
const PORTS: u16 = 8;
/// Bytes that its transmitter takes once it is empty.
const BUFFER: usize = 16;

/// Data; with the divisor latch open, the divisor's low byte.
const DATA: u16 = 0;
/// Which interrupts come; with the divisor latch open, the divisor's high byte.
const INTERRUPTS: u16 = 1;
/// Buffers, when written.
const BUFFERS: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DIVISOR_LATCH: u8 = 0x80;
const EIGHT_BITS: u8 = 0x03;
/// Buffers on, received bytes dropped, an interrupt at the first byte. What is being sent is left: the kernel may have
/// said something.
const BUFFERS_ON: u8 = 0x03;
/// Ready to receive, and interrupts let through.
const MODEM_READY: u8 = 0x0b;
const WHEN_RECEIVED: u8 = 0x01;
const WHEN_EMPTY: u8 = 0x02;
const RECEIVED: u8 = 0x01;
const OVERRUN: u8 = 0x02;
const EMPTY: u8 = 0x20;

/// Why there is no UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartError {
    /// The caller's fault: fewer ports than the device has.
    TooFewPorts,
    /// Nothing answers at these ports.
    Absent,
}

/// A serial line at 115,200 baud, eight bits, no parity.
#[derive(Debug)]
pub struct Uart<P> {
    ports: P,
    waiting_for_room: bool,
    overruns: u32,
}

impl<P: Ports> Uart<P> {
    /// Sets the device up; whatever it has received is dropped.
    ///
    /// # Errors
    /// See [`UartError`].
    pub fn new(ports: P) -> Result<Self, UartError> {
        if ports.count() < PORTS {
            return Err(UartError::TooFewPorts);
        }
        for pattern in [0x5a, 0xa5] {
            ports.write_u8(SCRATCH, pattern);
            if ports.read_u8(SCRATCH) != pattern {
                return Err(UartError::Absent);
            }
        }
        ports.write_u8(INTERRUPTS, 0);
        ports.write_u8(LINE_CONTROL, DIVISOR_LATCH | EIGHT_BITS);
        ports.write_u8(DATA, 1);
        ports.write_u8(INTERRUPTS, 0);
        ports.write_u8(LINE_CONTROL, EIGHT_BITS);
        ports.write_u8(BUFFERS, BUFFERS_ON);
        ports.write_u8(MODEM_CONTROL, MODEM_READY);
        ports.write_u8(INTERRUPTS, WHEN_RECEIVED);
        Ok(Self { ports, waiting_for_room: false, overruns: 0 })
    }

    /// How often bytes were lost because nobody took them in time: for the log.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        self.overruns
    }

    fn status(&mut self) -> u8 {
        let status = self.ports.read_u8(LINE_STATUS);
        // Reading clears it, so each is counted once. A device that has gone reads as all ones.
        if status & OVERRUN != 0 && status != u8::MAX {
            self.overruns = self.overruns.wrapping_add(1);
        }
        status
    }

    fn ask_for_room(&mut self, ask: bool) {
        if self.waiting_for_room != ask {
            self.waiting_for_room = ask;
            self.ports.write_u8(INTERRUPTS, if ask { WHEN_RECEIVED | WHEN_EMPTY } else { WHEN_RECEIVED });
        }
    }
}

impl<P: Ports> Line for Uart<P> {
    /// Takes a buffer's worth if the transmitter is empty; else none, and interrupts when it is.
    fn send(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            self.ask_for_room(false);
            return 0;
        }
        if self.status() & EMPTY == 0 {
            self.ask_for_room(true);
            return 0;
        }
        let count = bytes.len().min(BUFFER);
        for byte in &bytes[..count] {
            self.ports.write_u8(DATA, *byte);
        }
        count
    }

    fn receive(&mut self) -> Option<u8> {
        let status = self.status();
        (status & RECEIVED != 0 && status != u8::MAX).then(|| self.ports.read_u8(DATA))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// The device as its data sheet describes it.
    #[derive(Default)]
    struct Device {
        registers: [u8; 8],
        divisor: [u8; 2],
        sent: Vec<u8>,
        room: usize,
        received: VecDeque<u8>,
        overrun: bool,
        absent: bool,
    }

    struct Fake(RefCell<Device>, u16);

    impl Fake {
        fn new() -> Self {
            Self(RefCell::new(Device { room: BUFFER, ..Device::default() }), PORTS)
        }
    }

    impl Ports for Fake {
        fn count(&self) -> u16 {
            self.1
        }
        fn read_u8(&self, offset: u16) -> u8 {
            let mut device = self.0.borrow_mut();
            match offset {
                _ if device.absent => 0xff,
                DATA => device.received.pop_front().expect("read without a byte"),
                LINE_STATUS => {
                    let overrun = std::mem::take(&mut device.overrun);
                    u8::from(!device.received.is_empty())
                        | u8::from(overrun) << 1
                        | if device.room == BUFFER { EMPTY } else { 0 }
                }
                other => device.registers[usize::from(other)],
            }
        }
        fn write_u8(&self, offset: u16, value: u8) {
            let mut device = self.0.borrow_mut();
            let latched = device.registers[usize::from(LINE_CONTROL)] & DIVISOR_LATCH != 0;
            match offset {
                DATA | INTERRUPTS if latched => device.divisor[usize::from(offset)] = value,
                DATA => {
                    device.room = device.room.checked_sub(1).expect("written to a full transmitter");
                    device.sent.push(value);
                }
                other => device.registers[usize::from(other)] = value,
            }
        }
    }

    #[test]
    fn it_is_set_up() {
        let fake = Fake::new();
        Uart::new(&fake).expect("present");
        let device = fake.0.borrow();
        assert_eq!(device.divisor, [1, 0]);
        assert_eq!(device.registers[1..5], [WHEN_RECEIVED, BUFFERS_ON, EIGHT_BITS, MODEM_READY]);
        assert!(device.sent.is_empty());
    }

    #[test]
    fn what_is_not_there_is_said() {
        let fake = Fake::new();
        fake.0.borrow_mut().absent = true;
        assert_eq!(Uart::new(&fake).err(), Some(UartError::Absent));
        let small = Fake(RefCell::default(), 7);
        assert_eq!(Uart::new(&small).err(), Some(UartError::TooFewPorts));
    }

    #[test]
    fn sending_never_overruns_the_transmitter() {
        let fake = Fake::new();
        let mut uart = Uart::new(&fake).expect("present");
        let text: Vec<u8> = (0..40).collect();
        let mut sent = 0;
        for wanted in [16, 16, 8] {
            assert_eq!(uart.send(&text[sent..]), wanted);
            sent += wanted;
            let rest = uart.send(&text[sent..]);
            assert_eq!(rest, 0, "full");
            if sent < text.len() {
                assert_eq!(fake.0.borrow().registers[1], WHEN_RECEIVED | WHEN_EMPTY);
            }
            fake.0.borrow_mut().room = BUFFER;
        }
        assert_eq!(uart.send(&[]), 0);
        assert_eq!(fake.0.borrow().registers[1], WHEN_RECEIVED, "nothing more to say");
        assert_eq!(fake.0.borrow().sent, text);
    }

    #[test]
    fn receiving_takes_what_is_there() {
        let fake = Fake::new();
        let mut uart = Uart::new(&fake).expect("present");
        assert_eq!(uart.receive(), None);
        fake.0.borrow_mut().received.extend(*b"ok");
        fake.0.borrow_mut().overrun = true;
        assert_eq!((uart.receive(), uart.receive(), uart.receive()), (Some(b'o'), Some(b'k'), None));
        assert_eq!(uart.overruns(), 1);
        fake.0.borrow_mut().absent = true;
        assert_eq!(uart.receive(), None, "all ones are no byte");
        assert_eq!(uart.overruns(), 1);
    }
}
