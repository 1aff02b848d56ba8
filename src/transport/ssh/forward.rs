//! The byte stream through a jump host: a channel of its connection to the server beyond.
//!
//! What arrives is taken off the jump host's connection at once, read or not. russh does not read
//! while it writes, so two connections, one within the other, would else wait for each other for
//! ever: the inner for room to write, the outer for its bytes to be read.

use russh::Channel;
use russh::client::Msg;
use tokio::io::AsyncWriteExt;

use super::dial::Stream;

/// The most that is held of what was not read yet. The windows of the inner connection's channels
/// (2 MiB each) keep far below it; a host that sends more has to wait.
const MOST_UNREAD: usize = 64 << 20;

/// Makes a stream of `channel`. The channel closes with its connection.
pub(super) fn stream(channel: Channel<Msg>) -> Stream {
    let (mut arriving, sending) = channel.split();
    let (unread, mut inbox) = tokio::io::simplex(MOST_UNREAD);
    tokio::spawn(async move {
        // Both ways to end are the end of the stream to its reader.
        drop(tokio::io::copy(&mut arriving.make_reader(), &mut inbox).await);
        drop(inbox.shutdown().await);
    });
    Box::new(tokio::io::join(unread, sending.make_writer()))
}
