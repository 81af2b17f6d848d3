//! snapshot-server
