//! The lines of a reader, each within a bound: what is beyond it is passed over, not kept.

use std::io::{self, BufRead};

/// A line without its ending.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Text(&'a str),
    /// Nothing but white space.
    Blank,
    NotUtf8,
    /// Longer than the bound.
    TooLong {
        bytes: u64,
    },
}

pub(super) struct Lines<R> {
    reader: R,
    /// The line at hand; never longer than the bound.
    buffer: Vec<u8>,
    bytes_max: usize,
    /// Of the last line that was given.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R, bytes_max: usize) -> Lines<R> {
        Lines { reader, buffer: Vec::new(), bytes_max, number: 0 }
    }

    /// The next line with its number, from 1; `None` at the end. A byte order mark at the beginning belongs to no line.
    ///
    /// # Errors
    /// What the reader says.
    pub fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        let mut bytes = 0_u64;
        let mut ended = false;
        while !ended {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if bytes == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let room = self.bytes_max - self.buffer.len();
            self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            let taken = part.len() + usize::from(end.is_some());
            bytes += taken as u64;
            ended = end.is_some();
            self.reader.consume(taken);
        }
        self.number += 1;
        let length = bytes - u64::from(ended);
        if length > self.bytes_max as u64 {
            return Ok(Some((self.number, Line::TooLong { bytes: length })));
        }
        let mut line = self.buffer.as_slice();
        if self.number == 1 {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        let line = match std::str::from_utf8(line).map(str::trim) {
            Ok("") => Line::Blank,
            Ok(text) => Line::Text(text),
            Err(_) => Line::NotUtf8,
        };
        Ok(Some((self.number, line)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn check(bytes: &[u8], bytes_max: usize, expect: &[&str]) {
        // A small buffer, so that lines come in several parts.
        let mut lines = Lines::new(BufReader::with_capacity(3, bytes), bytes_max);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            assert_eq!(number, found.len() as u64 + 1);
            found.push(match line {
                Line::Text(text) => text.to_owned(),
                other => format!("{other:?}"),
            });
        }
        assert_eq!(found, expect);
    }

    #[test]
    fn lines_come_without_endings_and_within_the_bound() {
        check(b"", 9, &[]);
        check(b"\n", 9, &["Blank"]);
        check(b"abc", 9, &["abc"]);
        check("\u{feff}a\r\n \t\n b \n".as_bytes(), 9, &["a", "Blank", "b"]);
        check("a\u{feff}\n\u{feff}b".as_bytes(), 9, &["a\u{feff}", "\u{feff}b"]);
        check(b"123456789\n1234567890\nx\n", 9, &["123456789", "TooLong { bytes: 10 }", "x"]);
        check(b"1234567890", 9, &["TooLong { bytes: 10 }"]);
        check(b"a\xff\nb\n", 9, &["NotUtf8", "b"]);
    }

    #[test]
    fn a_line_that_never_ends_takes_no_memory() {
        let endless = std::io::repeat(b'x').take(50_000_000);
        let mut lines = Lines::new(BufReader::new(endless.chain(&b"\nlast\n"[..])), 1_000);
        assert_eq!(lines.next().unwrap(), Some((1, Line::TooLong { bytes: 50_000_000 })));
        assert!(lines.buffer.capacity() < 10_000, "{}", lines.buffer.capacity());
        assert_eq!(lines.next().unwrap(), Some((2, Line::Text("last"))));
        assert_eq!(lines.next().unwrap(), None);
    }
}
