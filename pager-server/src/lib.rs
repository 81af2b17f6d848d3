//! pager-server
