//! The device's interrupt table (PCI Local Bus Specification 3.0, §6.8.2): sixteen bytes a vector, in a BAR that the
//! `platform` library finds. Message address and data come from the kernel (`BindInterrupt`).

use mmio::Registers;

const VECTOR_BYTES: usize = 16;
const MASKED: u32 = 1;

/// The vector lies outside the table: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchVector;

/// Vectors that fit into `table`.
pub fn vectors(table: &impl Registers) -> usize {
    table.size_bytes() / VECTOR_BYTES
}

/// Makes `vector` write `data` to `address` when it fires, and unmasks it.
///
/// # Errors
/// [`NoSuchVector`]; then nothing has changed.
pub fn route(table: &impl Registers, vector: u16, address: u64, data: u32) -> Result<(), NoSuchVector> {
    let at = usize::from(vector) * VECTOR_BYTES;
    if usize::from(vector) >= vectors(table) {
        return Err(NoSuchVector);
    }
    // Masked while it is half written: the function must not send a message to half an address.
    table.write_u32(at + 12, MASKED);
    table.write_u64(at, address);
    table.write_u32(at + 8, data);
    table.write_u32(at + 12, 0);
    Ok(())
}

/// Keeps `vector` from firing.
///
/// # Errors
/// [`NoSuchVector`].
pub fn mask(table: &impl Registers, vector: u16) -> Result<(), NoSuchVector> {
    if usize::from(vector) >= vectors(table) {
        return Err(NoSuchVector);
    }
    table.write_u32(usize::from(vector) * VECTOR_BYTES + 12, MASKED);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Remembers what was written, in order.
    struct Table(RefCell<Vec<(usize, u32)>>);

    impl Registers for Table {
        fn size_bytes(&self) -> usize {
            48
        }
        fn read_u32(&self, _: usize) -> u32 {
            0
        }
        fn write_u32(&self, offset: usize, value: u32) {
            self.0.borrow_mut().push((offset, value));
        }
    }

    #[test]
    fn a_vector_is_masked_while_it_changes() {
        let table = Table(RefCell::default());
        route(&table, 1, 0x1_fee0_0000, 0x41).expect("in the table");
        assert_eq!(table.0.take(), [(28, 1), (16, 0xfee0_0000), (20, 1), (24, 0x41), (28, 0)]);
        mask(&table, 2).expect("in the table");
        assert_eq!(table.0.take(), [(44, 1)]);
    }

    #[test]
    fn a_vector_outside_the_table_is_refused() {
        let table = Table(RefCell::default());
        assert_eq!(route(&table, 3, 0xfee0_0000, 0x41), Err(NoSuchVector));
        assert_eq!(mask(&table, 3), Err(NoSuchVector));
        assert_eq!(table.0.take(), []);
    }
}
