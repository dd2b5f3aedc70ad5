//! The number of each kind of operation, in requests and in events.

/// Nothing; ends at once. Measures the way there and back.
pub const SL_NOP: u32 = 1;
/// sl_post.
pub const SL_POST: u32 = 2;
/// sl_work.
pub const SL_WORK: u32 = 3;
/// sl_timer.
pub const SL_TIMER: u32 = 4;
/// sl_close.
pub const SL_CLOSE: u32 = 5;
/// sl_file_open.
pub const SL_FILE_OPEN: u32 = 16;
/// sl_file_read.
pub const SL_FILE_READ: u32 = 17;
/// sl_file_write.
pub const SL_FILE_WRITE: u32 = 18;
/// sl_file_readv.
pub const SL_FILE_READV: u32 = 19;
/// sl_file_writev.
pub const SL_FILE_WRITEV: u32 = 20;
/// sl_file_sync.
pub const SL_FILE_SYNC: u32 = 21;
/// sl_file_stat.
pub const SL_FILE_STAT: u32 = 22;
/// sl_file_truncate.
pub const SL_FILE_TRUNCATE: u32 = 23;
/// sl_path_stat.
pub const SL_PATH_STAT: u32 = 24;
/// sl_path_read.
pub const SL_PATH_READ: u32 = 25;
/// sl_path_write.
pub const SL_PATH_WRITE: u32 = 26;
/// sl_path_remove.
pub const SL_PATH_REMOVE: u32 = 27;
/// sl_path_rename.
pub const SL_PATH_RENAME: u32 = 28;
/// sl_path_make_directory.
pub const SL_PATH_MAKE_DIRECTORY: u32 = 29;
/// sl_path_link.
pub const SL_PATH_LINK: u32 = 30;
/// sl_path_read_link.
pub const SL_PATH_READ_LINK: u32 = 31;
/// sl_tcp_accept.
pub const SL_TCP_ACCEPT: u32 = 32;
/// sl_tcp_connect.
pub const SL_TCP_CONNECT: u32 = 33;
/// sl_stream_receive.
pub const SL_STREAM_RECEIVE: u32 = 34;
/// sl_stream_send.
pub const SL_STREAM_SEND: u32 = 35;
/// sl_stream_sendv.
pub const SL_STREAM_SENDV: u32 = 36;
/// sl_stream_shutdown.
pub const SL_STREAM_SHUTDOWN: u32 = 37;
/// sl_path_list.
pub const SL_PATH_LIST: u32 = 48;
/// sl_path_copy.
pub const SL_PATH_COPY: u32 = 49;
