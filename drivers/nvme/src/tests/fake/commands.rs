//! What the controller does about the commands that it has fetched.

use mmio::FRAME_BYTES;

use super::{Answer, Inside, Queue};

impl Inside {
    // ---- admin commands -----------------------------------------------------------------------------------------

    pub(super) fn execute_admin(&mut self, command: [u32; 16]) {
        let identifier = (command[0] >> 16) as u16;
        let opcode = command[0] as u8;
        let page = u64::from(command[6]) | u64::from(command[7]) << 32;
        if let Some((_, status)) = self.faults.refuse_admin.filter(|(refused, _)| *refused == opcode) {
            return self.post(0, identifier, 0, status);
        }
        let status = match opcode {
            0x06 => self.identify(command, page),
            0x09 => self.set_features(command),
            0x05 => {
                assert_eq!(command[10] & 0xffff, 1, "the first I/O queue");
                assert_eq!(command[11] & 1, 1, "contiguous");
                assert!((command[10] >> 16) < self.profile.entries);
                self.io.1 = Queue::new(page, (command[10] >> 16) + 1);
                0
            }
            0x01 => {
                assert!(self.io.1.created, "its completion queue comes first");
                assert_eq!(command[11], 1 << 16 | 1, "contiguous, answered in queue 1");
                self.io.0 = Queue::new(page, (command[10] >> 16) + 1);
                0
            }
            _ => panic!("admin command {opcode:#x}"),
        };
        self.post(0, identifier, 0, status);
    }

    fn identify(&mut self, command: [u32; 16], page: u64) -> u16 {
        let mut answer = vec![0u8; FRAME_BYTES];
        let namespace = self.profile.namespace;
        if self.faults.blank_identify == Some(command[10] & 0xff) {
            return 0;
        }
        match command[10] & 0xff {
            0 if command[1] != namespace => {}
            0 => {
                answer[..8].copy_from_slice(&self.profile.sectors.to_le_bytes());
                answer[25] = 2;
                answer[26] = self.profile.format;
                answer[29] = self.profile.protection;
                let format = u32::from(self.profile.metadata_bytes) | self.profile.sector_bytes.trailing_zeros() << 16;
                answer[128 + usize::from(self.profile.format) * 4..][..4].copy_from_slice(&format.to_le_bytes());
            }
            1 => {
                answer[77] = self.profile.mdts;
                answer[512] = 0x66;
                answer[513] = 0x44;
                answer[520..522].copy_from_slice(&self.profile.optional.to_le_bytes());
                answer[525] = u8::from(self.profile.write_cache);
            }
            2 => {
                assert_eq!(command[1], 0, "list all of them");
                answer[..4].copy_from_slice(&namespace.to_le_bytes());
            }
            other => panic!("identify {other}"),
        }
        self.write_memory(page, &answer);
        0
    }

    fn set_features(&mut self, command: [u32; 16]) -> u16 {
        match command[10] {
            6 => {
                assert!(self.profile.write_cache, "there is no cache to set");
                self.cache_on = command[11] & 1 == 1;
                if !self.cache_on {
                    self.flush();
                }
            }
            7 => assert_eq!(command[11], 0, "one pair, counted from 0"),
            other => panic!("feature {other}"),
        }
        0
    }

    // ---- I/O commands -------------------------------------------------------------------------------------------

    pub(super) fn execute(&mut self, command: [u32; 16]) {
        let identifier = (command[0] >> 16) as u16;
        let answer = self.answers.pop_front().unwrap_or(Answer::Truth);
        self.executed.push(command);
        match answer {
            Answer::Status(status) => return self.post(1, identifier, 1, status),
            Answer::Lost => return,
            _ => {}
        }
        let status = self.perform(command);
        match answer {
            Answer::Silence => {}
            Answer::WrongIdentifier => self.post(1, identifier ^ 0x40, 1, status),
            Answer::PreviousAgain => {
                let before = self.executed.iter().rev().nth(1).expect("there was one");
                self.post(1, (before[0] >> 16) as u16, 1, status);
            }
            Answer::WrongQueue => self.post(1, identifier, 2, status),
            Answer::WrongPhaseFirst => {
                self.post_stale();
                // The driver may look now, and must see nothing; `run_one` posts the truth later.
                self.answers.push_front(Answer::Truth);
                self.pending.insert(0, command);
            }
            Answer::Twice => {
                self.repeated = true;
                self.post(1, identifier, 1, status);
                self.post(1, identifier, 1, status);
            }
            _ => self.post(1, identifier, 1, status),
        }
    }

    fn perform(&mut self, command: [u32; 16]) -> u16 {
        const INVALID_NAMESPACE: u16 = 0x0b;
        const OUT_OF_RANGE: u16 = 0x80;
        if command[1] != self.profile.namespace {
            return INVALID_NAMESPACE;
        }
        assert_eq!(command[0] >> 8 & 0xff, 0, "neither fused nor SGL");
        let first = u64::from(command[10]) | u64::from(command[11]) << 32;
        let sectors = u64::from(command[12] & 0xffff) + 1;
        let inside = first.checked_add(sectors).is_some_and(|end| end <= self.profile.sectors);
        match command[0] as u8 {
            0x00 => self.flush(),
            0x01 | 0x02 | 0x08 if !inside => return OUT_OF_RANGE,
            opcode @ (0x01 | 0x02) => self.transfer(command, opcode == 0x01, first, sectors),
            0x08 => {
                assert_ne!(self.profile.optional & 8, 0, "Write Zeroes is not there");
                for at in first..first + sectors {
                    self.store(at, vec![0; self.profile.sector_bytes]);
                }
            }
            0x09 => return self.deallocate(command),
            _ => return 0x01,
        }
        0
    }

    pub(super) fn flush(&mut self) {
        let cache = std::mem::take(&mut self.cache);
        self.durable.extend(cache);
    }

    fn deallocate(&mut self, command: [u32; 16]) -> u16 {
        assert_ne!(self.profile.optional & 4, 0, "Dataset Management is not there");
        assert_eq!((command[10], command[11]), (0, 4), "one range, deallocated");
        let list = u64::from(command[6]) | u64::from(command[7]) << 32;
        let count = self.read_word(list) >> 32;
        let first = self.read_word(list + 8);
        if first + count > self.profile.sectors {
            return 0x80;
        }
        for at in first..first + count {
            self.store(at, vec![0; self.profile.sector_bytes]);
        }
        0
    }

    /// The pages of a transfer, by the rules for PRPs.
    fn pages(&self, command: [u32; 16], bytes: usize) -> Vec<u64> {
        let entry = |at: usize| u64::from(command[at]) | u64::from(command[at + 1]) << 32;
        let count = bytes.div_ceil(FRAME_BYTES);
        let mut pages = vec![entry(6)];
        match count {
            1 => {}
            2 => pages.push(entry(8)),
            _ => {
                let list = entry(8);
                assert_eq!(list % 8, 0);
                let room = FRAME_BYTES as u64 - list % FRAME_BYTES as u64;
                assert!((count as u64 - 1) * 8 <= room, "the list leaves its page");
                pages.extend((0..count as u64 - 1).map(|i| self.read_word(list + i * 8)));
            }
        }
        assert!(pages.iter().all(|page| page % FRAME_BYTES as u64 == 0), "a page with an offset");
        pages
    }

    fn transfer(&mut self, command: [u32; 16], write: bool, first: u64, sectors: u64) {
        let sector_bytes = self.profile.sector_bytes;
        let bytes = sectors as usize * sector_bytes;
        if self.profile.mdts != 0 {
            assert!(bytes <= FRAME_BYTES << self.profile.mdts, "longer than MDTS");
        }
        let pages = self.pages(command, bytes);
        let durable = command[12] >> 30 & 1 == 1;
        for i in 0..sectors {
            let offset = i as usize * sector_bytes;
            let address = pages[offset / FRAME_BYTES] + (offset % FRAME_BYTES) as u64;
            if write {
                let mut data = vec![0; sector_bytes];
                self.read_memory(address, &mut data);
                self.store(first + i, data.clone());
                if durable {
                    self.durable.insert(first + i, data);
                }
            } else {
                let data = self.sector(first + i);
                self.write_memory(address, &data);
            }
        }
    }
}
