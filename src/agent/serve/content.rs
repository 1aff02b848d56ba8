//! The controller's bytes, asked for when a module needs them and read as they come.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::session::{Piece, Session};
use crate::agent::protocol::{ToController, WINDOW};
use crate::machine::{ContentId, ContentSource};

/// Asks the controller.
pub(super) struct Controller {
    pub(super) session: Arc<Session>,
    pub(super) seq: u64,
}

impl ContentSource for Controller {
    fn open(&mut self, id: &ContentId) -> io::Result<Box<dyn Read + Send + '_>> {
        let (stream, pieces) = self.session.open_stream();
        self.session.send(&ToController::Need {
            seq: self.seq,
            stream,
            content: id.clone(),
        })?;
        Ok(Box::new(Incoming {
            session: &self.session,
            stream,
            pieces,
            piece: Vec::new(),
            position: 0,
            unpaid: 0,
            ended: false,
        }))
    }
}

struct Incoming<'a> {
    session: &'a Session,
    stream: u64,
    pieces: Receiver<Piece>,
    piece: Vec<u8>,
    position: usize,
    /// What was read since credit was last given.
    unpaid: u64,
    ended: bool,
}

impl Incoming<'_> {
    fn next_piece(&mut self) -> io::Result<()> {
        match self.pieces.recv() {
            Ok(Piece::Bytes(bytes)) => {
                self.piece = bytes;
                self.position = 0;
                Ok(())
            }
            Ok(Piece::End(None)) => {
                self.ended = true;
                Ok(())
            }
            Ok(Piece::End(Some(error))) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other("the task was cancelled")),
        }
    }

    /// Gives credit in large steps, so that it costs few messages.
    fn pay(&mut self, count: u64) -> io::Result<()> {
        self.unpaid += count;
        if self.unpaid < WINDOW / 4 {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.unpaid);
        self.session.send(&ToController::Credit {
            stream: self.stream,
            bytes,
        })
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.piece.len() && !self.ended {
            self.next_piece()?;
        }
        let count = (&self.piece[self.position..]).read(buffer)?;
        self.position += count;
        self.pay(u64::try_from(count).expect("a buffer's length fits"))?;
        Ok(count)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.session.close_stream(self.stream);
    }
}
