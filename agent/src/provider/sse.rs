//! Server-sent events, read from the bytes of an answer as they come (<https://html.spec.whatwg.org/#event-stream-interpretation>).

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind, where it has one.
    pub event: String,
    /// Its data, lines joined.
    pub data: String,
}

/// An event is longer than the reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the answer is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// More than an answer with the longest arguments that a model writes.
pub const LONGEST_EVENT: usize = 32 * 1024 * 1024;

/// Takes bytes in pieces of any size, and gives events.
#[derive(Debug)]
pub struct Reader {
    longest: usize,
    /// A line that has no end yet.
    line: Vec<u8>,
    /// The last piece ended with a carriage return, which a newline may belong to.
    after_return: bool,
    at_start: bool,
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(LONGEST_EVENT)
    }
}

impl Reader {
    /// A reader that takes events of so many bytes.
    #[must_use]
    pub const fn new(longest: usize) -> Self {
        Self {
            longest,
            line: Vec::new(),
            after_return: false,
            at_start: true,
            event: Vec::new(),
            data: Vec::new(),
            has_data: false,
        }
    }

    /// Takes the next bytes, and gives the events that are whole with them.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; the reader is of no use any more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        let mut rest = bytes;
        if self.after_return && !rest.is_empty() {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_return = false;
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = rest.split_at(end);
            self.extend(line)?;
            events.extend(self.end_line());
            rest = match after {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.extend(rest)?;
        Ok(events)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > self.longest {
            return Err(TooLong(self.longest));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then(|| Event {
                event: String::from_utf8_lossy(&event).into_owned(),
                data: String::from_utf8_lossy(&data).into_owned(),
            });
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.event = value.to_vec(),
            // Comments, identities and times to wait say nothing to us.
            _ => {}
        }
        None
    }
}
