//! The console port: characters in and out. Served by the console driver; this is where law 5 meets a person.
//!
//! **Output** waits in a ring of bytes ([`RingWriter`]) in a page of the world that the program has lent to the server
//! ([`super::lent`]), until it is durable and shown. The program appends without a call, and runs ahead. It calls
//! [`Request::Show`] to say that there is something, or to wait until the server has shown up to some byte. The server
//! sees the page read-only: it reads the write index and the bytes below it, then the epoch, shows them when that epoch has
//! committed, and only then answers, which moves the read index. So output may be repeated after a restart, from the last
//! byte that the program knew to be shown; it is never lost and never early. A server that starts looks at every ring
//! that is lent: what waits there needs no further call.
//!
//! **Input** comes with [`Request::Read`], each byte numbered. Bytes that a reader took in an epoch that did not commit are
//! handed out again after the world is restored, under the same numbers, as long as the server has survived: a
//! serial line cannot be asked to send again. When the server or the machine dies, bytes that were typed and not yet
//! taken, or taken in an epoch that did not commit, are lost.
//!
//! | | tag | words in | caps in | reply tag | reply words |
//! | --- | --- | --- | --- | --- | --- |
//! | Show | 1 | 0: answer when all below this index is shown | 0: the object lent | 0 | 0: all below is shown |
//! | Read | 2 | – | – | bytes << 8 | 0: number of the first byte; 1 … 7: the bytes |
//! | any, refused | | | | [`Error`] | – |
//!
//! Show is to be marked repeatable: when server or world come back it is asked again, and answered as well. A Read may be.

mod chunk;
mod message;
mod printer;
mod reader;
mod ring;

pub use chunk::{CHUNK_BYTES_MAX, Chunk};
pub use message::{Answer, Carried, Error, Port, Request};
pub use printer::{ATTEMPTS_MAX, PrintError, Printer};
pub use reader::{ReadRefused, Reader};
pub use ring::{BadRing, RING_BYTES, RingWriter, shown_before, take};
