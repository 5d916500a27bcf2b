//! Files of bytes that a release wrote, for tests of formats: a line a value, its name and its bytes
//! in hex, or as text in quotes. A file that is there is never written again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Disk as _, Open, RealDisk};

/// Values by name.
pub type Values = BTreeMap<String, Vec<u8>>;

/// What `file` holds. If it is not there: panics, or, built with `FANFARE_GOLDEN` in the
/// environment, writes `now` there first. For tests alone.
///
/// # Panics
/// If the file is missing or is none.
#[must_use]
pub fn values(file: &Path, now: &Values) -> Values {
    let shown = file.display();
    let there = RealDisk.open(file, Open::Read).is_ok();
    if !there && option_env!("FANFARE_GOLDEN").is_some() {
        write(file, now).unwrap_or_else(|error| panic!("{shown}: {error}"));
    }
    let text = read(file);
    let text =
        text.unwrap_or_else(|error| panic!("{shown}: {error}; `just golden` makes new ones"));
    let lines = text.lines().map(|line| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = of_text(value).unwrap_or_else(|| panic!("{shown}: a bad line for {name}"));
        (name.to_owned(), value)
    });
    lines.collect()
}

fn write(file: &Path, values: &Values) -> std::io::Result<()> {
    let mut text = String::new();
    for (name, value) in values {
        text.push_str(&format!("{name} {}\n", to_text(value)));
    }
    if let Some(dir) = file.parent() {
        RealDisk.create_dir_all(dir)?;
    }
    let out = RealDisk.open(file, Open::Create)?;
    out.write_all_at(text.as_bytes(), 0)?;
    out.sync()
}

fn read(file: &Path) -> std::io::Result<String> {
    let input = RealDisk.open(file, Open::Read)?;
    let mut bytes = vec![0; usize::try_from(input.len()?).unwrap_or(0)];
    input.read_exact_at(&mut bytes, 0)?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::other(error.to_string()))
}

/// Text in quotes if all of it can be read, else hex.
fn to_text(value: &[u8]) -> String {
    let readable = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\r');
    match std::str::from_utf8(value) {
        Ok(text) if !value.is_empty() && value.iter().all(readable) => {
            let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
            format!("\"{}\"", escaped.replace('\r', "\\r"))
        }
        Ok(_) | Err(_) => value.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn of_text(text: &str) -> Option<Vec<u8>> {
    if let Some(quoted) = text.strip_prefix('"') {
        let quoted = quoted.strip_suffix('"')?;
        let mut out = Vec::with_capacity(quoted.len());
        let mut chars = quoted.bytes();
        while let Some(byte) = chars.next() {
            out.push(match byte {
                b'\\' => match chars.next()? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => other,
                },
                other => other,
            });
        }
        return Some(out);
    }
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_texts_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("v1").join("values.txt");
        let values: Values = [
            ("empty", &b""[..]),
            ("bytes", &[0, 1, 255]),
            ("text", b"data: {\"a\\b\": 1}\r\n\n"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .into();
        write(&file, &values).unwrap();
        assert_eq!(super::values(&file, &Values::new()), values);
    }

    #[test]
    #[should_panic(expected = "just golden")]
    fn a_file_that_is_missing_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(values(&dir.path().join("none.txt"), &Values::new()));
    }
}
