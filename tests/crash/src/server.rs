//! One connection: negotiation, then requests until the client leaves or the power goes.

use std::io::{self, Read, Write};

use crate::power::{Power, State};
use crate::protocol::{self, Request, answer, error, kind, option, read_bytes, read_u32, read_u64};
use crate::{Command, SECTOR_BYTES};

/// Most options that a client may try before it begins.
const OPTIONS_MAX: usize = 64;

/// Serves one client.
///
/// # Errors
/// When the connection breaks or the client does not speak the protocol.
pub(crate) fn serve(stream: &mut (impl Read + Write), state: &State) -> io::Result<()> {
    if !negotiate(stream, state.disk_bytes())? {
        return Ok(());
    }
    loop {
        let request = Request::read(stream)?;
        let data = if request.kind == kind::WRITE { read_bytes(stream, request.length)? } else { Vec::new() };
        if request.kind == kind::DISCONNECT {
            return Ok(());
        }
        match execute(&request, data, state) {
            Answer::Done(data) => protocol::write_reply(stream, request.cookie, error::NONE, &data)?,
            Answer::Invalid => protocol::write_reply(stream, request.cookie, error::INVALID, &[])?,
            // The connection stays open and silent: to the machine the disk hangs, until somebody ends the machine.
            Answer::PowerGone => state.wait_until_closed(),
        }
        if state.is_closed() {
            return Ok(());
        }
    }
}

enum Answer {
    Done(Vec<u8>),
    Invalid,
    PowerGone,
}

fn execute(request: &Request, data: Vec<u8>, state: &State) -> Answer {
    let (offset, bytes) = (request.offset, request.length);
    let mut guard = state.lock();
    let inner = &mut *guard;
    let command = match request.kind {
        kind::READ => Command::Read { offset, bytes },
        kind::WRITE | kind::WRITE_ZEROES => Command::Write { offset, bytes },
        kind::FLUSH => Command::Flush,
        _ => return Answer::Invalid,
    };
    let power = inner.note(command);
    state.announce();
    if power == Power::Gone {
        return Answer::PowerGone;
    }
    let disk = &mut inner.disk;
    let result = match request.kind {
        kind::READ => return disk.read(offset, bytes).map_or(Answer::Invalid, |data| Answer::Done(data.to_vec())),
        kind::WRITE => disk.write(offset, data),
        kind::WRITE_ZEROES => disk.write(offset, vec![0; bytes as usize]),
        // A flush at which the power goes has flushed nothing.
        _ if power == Power::GoesNow => Some(()),
        _ => {
            disk.flush();
            Some(())
        }
    };
    match (result, power) {
        (None, _) => Answer::Invalid,
        (Some(()), Power::GoesNow) => Answer::PowerGone,
        (Some(()), _) => Answer::Done(Vec::new()),
    }
}

/// Whether requests will follow.
fn negotiate(stream: &mut (impl Read + Write), disk_bytes: u64) -> io::Result<bool> {
    stream.write_all(&protocol::GREETING.to_be_bytes())?;
    stream.write_all(&protocol::OPTION.to_be_bytes())?;
    stream.write_all(&protocol::GREETING_FLAGS.to_be_bytes())?;
    let client_flags = read_u32(stream)?;
    let no_zeroes = client_flags & 0b10 != 0;
    for _ in 0..OPTIONS_MAX {
        if read_u64(stream)? != protocol::OPTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let option = read_u32(stream)?;
        let length = read_u32(stream)?;
        read_bytes(stream, length)?;
        match option {
            option::EXPORT_NAME => {
                stream.write_all(&disk_bytes.to_be_bytes())?;
                stream.write_all(&protocol::DISK_FLAGS.to_be_bytes())?;
                if !no_zeroes {
                    stream.write_all(&[0; 124])?;
                }
                return Ok(true);
            }
            option::INFO | option::GO => {
                inform(stream, option, disk_bytes)?;
                if option == option::GO {
                    return Ok(true);
                }
            }
            option::ABORT => {
                protocol::write_answer(stream, option, answer::ACKNOWLEDGED, &[])?;
                return Ok(false);
            }
            _ => protocol::write_answer(stream, option, answer::UNSUPPORTED, &[])?,
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn inform(stream: &mut impl Write, option: u32, disk_bytes: u64) -> io::Result<()> {
    let mut export = protocol::INFORMATION_EXPORT.to_be_bytes().to_vec();
    export.extend_from_slice(&disk_bytes.to_be_bytes());
    export.extend_from_slice(&protocol::DISK_FLAGS.to_be_bytes());
    protocol::write_answer(stream, option, answer::INFORMATION, &export)?;
    let mut sizes = protocol::INFORMATION_BLOCK_SIZE.to_be_bytes().to_vec();
    for size in [SECTOR_BYTES as u32, 4096, protocol::LENGTH_MAX] {
        sizes.extend_from_slice(&size.to_be_bytes());
    }
    protocol::write_answer(stream, option, answer::INFORMATION, &sizes)?;
    protocol::write_answer(stream, option, answer::ACKNOWLEDGED, &[])
}
