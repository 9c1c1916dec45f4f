//! Reads codes from CSV: the first column of each line, which may be the only one. A first line `code` is a header. What is
//! likely no code is refused, because a loaded code cannot be removed: other headers, and columns that semicolons separate.

use anyhow::{Context, Result};
use csv::{ReaderBuilder, StringRecord, Terminator, Trim};
use rushgate_gate::PoolCode;
use rushgate_gate::pool_code::NoCode;
use std::io::{Chain, Read};

/// A line with what was read from it.
pub(super) type Line = (u32, Result<PoolCode, BadLine>);

/// Why no code is read from a line. The error does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error(transparent)]
    NoCode(#[from] NoCode),
    #[error("has a semicolon in its code: separate columns by commas")]
    Semicolon,
    #[error(
        "looks like a header: codes are in the first column, which is named `code`. Change or remove this line; if it is a \
         code, put a line `code` before it"
    )]
    Header,
}

/// Codes from CSV, read line by line.
pub(super) struct Input<R> {
    reader: csv::Reader<Chain<R, &'static [u8]>>,
    record: StringRecord,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All);
        // So that a record has ended where its line ends, and `\r` before that is trimmed.
        builder.terminator(Terminator::Any(b'\n'));
        let ends_with_newline = source.chain(&b"\n"[..]);
        Self {
            reader: builder.from_reader(ends_with_newline),
            record: StringRecord::new(),
        }
    }

    /// The next lines, at most `most`; none at the end. Empty lines are left out.
    ///
    /// # Errors
    /// When the source cannot be read, or is not text.
    pub(super) fn next(&mut self, most: usize) -> Result<Vec<Line>> {
        let mut lines = vec![];
        while lines.len() < most {
            let is_first = self.reader.position().byte() == 0;
            let read = self.reader.read_record(&mut self.record);
            if !read.context("reading the codes; no code was loaded")? {
                break;
            }
            let field = self.record.get(0).unwrap_or_default();
            if is_first && field.eq_ignore_ascii_case("code") {
                continue;
            }
            let is_empty = self.record.len() == 1 && field.is_empty();
            if is_empty {
                continue;
            }
            // The reader is at the beginning of the next line.
            let newlines = self.record.iter().flat_map(|field| field.matches('\n'));
            let line = self.reader.position().line() - 1 - newlines.count() as u64;
            let code = match is_first && is_header(&self.record) {
                true => Err(BadLine::Header),
                false => code(field),
            };
            lines.push((u32::try_from(line)?, code));
        }
        Ok(lines)
    }
}

fn code(field: &str) -> Result<PoolCode, BadLine> {
    match field.contains(';') {
        true => Err(BadLine::Semicolon),
        false => Ok(field.parse()?),
    }
}

/// Whether the first line names columns: the first one, such as `Coupon code` or `code;price`, or another one as `code`.
fn is_header(record: &StringRecord) -> bool {
    let mut columns = record.iter().map(str::to_ascii_lowercase);
    let first = columns.next().unwrap_or_default();
    let words = ["code", "coupon", "voucher"];
    let is_name = words.iter().any(|word| first.contains(word));
    let has_digit = first.contains(|letter: char| letter.is_ascii_digit());
    (is_name && !has_digit) || columns.any(|column| column == "code")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u32, Option<String>)> {
        let mut input = Input::new(text.as_bytes());
        let mut all = vec![];
        loop {
            let lines = input.next(2).expect("text");
            if lines.is_empty() {
                return all;
            }
            let lines = lines.into_iter();
            all.extend(
                lines.map(|(line, code)| (line, code.ok().map(|code| code.as_str().to_owned()))),
            );
        }
    }

    #[test]
    fn what_is_likely_no_code_is_refused() {
        let first = |text: &str| {
            let mut input = Input::new(text.as_bytes());
            let (line, code) = input.next(1).expect("text").remove(0);
            (line, code.err())
        };
        for header in [
            "Coupon code",
            "\u{feff}couponCode,price",
            "codes",
            "code;price",
            "voucher",
            "number,Code,price",
        ] {
            let text = format!("{header}\r\nA-1111,5\r\n");
            assert_eq!(first(&text), (1, Some(BadLine::Header)), "{header}");
        }
        for code in ["CODE-1", "COUPON1", "TREE-ABC,a coupon", "code\nCOUPON-ABC"] {
            assert_eq!(first(code).1, None, "{code}");
        }
        assert_eq!(first("A-1111;5"), (1, Some(BadLine::Semicolon)));
        assert_eq!(first("abc"), (1, Some(BadLine::NoCode(NoCode))));
        let mut input = Input::new(&b"A-1111\nmy code\nB-2222;6\n"[..]);
        let lines = input.next(5).expect("text");
        assert!(lines[1].1.is_ok(), "only the first line is a header");
        assert_eq!(lines[2], (3, Err(BadLine::Semicolon)));
    }

    #[test]
    fn codes_are_the_first_column_or_the_only_one() {
        let codes = |lines: &[(u32, &str)]| {
            let lines = lines.iter();
            let lines = lines.map(|(line, code)| (*line, Some((*code).to_owned())));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            read("A-1111\nB 2222\n\nC-3333"),
            codes(&[(1, "A-1111"), (2, "B 2222"), (4, "C-3333")])
        );
        assert_eq!(
            read("\u{feff}Code,price\r\nA-1111,5\r\n\"B,222\",6\r\n"),
            codes(&[(2, "A-1111"), (3, "B,222")])
        );
        assert_eq!(read("A-1111\ncode\n"), codes(&[(1, "A-1111"), (2, "code")]));
        let quoted = "A-1111,\"two\nlines\"\r\n\r\nB-2222,x\r\n";
        assert_eq!(read(quoted), codes(&[(1, "A-1111"), (4, "B-2222")]));
        assert_eq!(read("code\n"), []);
        assert_eq!(read(""), []);
        assert_eq!(
            read("A-1111\nabc\n,5\n"),
            [(1, Some("A-1111".to_owned())), (2, None), (3, None)]
        );
        assert!(
            Input::new(&b"A-1111\n\xff\xff\xff\xff\n"[..])
                .next(5)
                .is_err()
        );
    }
}
