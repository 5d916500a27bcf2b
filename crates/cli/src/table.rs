//! Rows for people: columns as wide as their widest cell, and times and sizes in few characters.

use std::time::Duration;

/// Columns under their names; no line ends with spaces. Columns in `right` are numbers.
pub fn table<const N: usize>(
    names: [&str; N],
    right: [bool; N],
    rows: &[[String; N]],
) -> Vec<String> {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([names[at].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: [&str; N]| {
        let mut out = String::new();
        for ((cell, width), right) in row.into_iter().zip(widths).zip(right) {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = if right {
                (pad.as_str(), "")
            } else {
                ("", pad.as_str())
            };
            out.push_str(&format!("{before}{cell}{after}  "));
        }
        out.trim_end().to_owned()
    };
    let cells = |row: &[String; N]| line(std::array::from_fn(|at| row[at].as_str()));
    std::iter::once(line(names))
        .chain(rows.iter().map(cells))
        .collect()
}

/// An age in its largest unit.
pub fn age(time: Duration) -> String {
    match time.as_secs() {
        s if s < 120 => format!("{s}s"),
        s if s < 7_200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// Bytes in their largest unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = count;
    let mut unit = 0;
    while left >= 10_240 && unit + 1 < UNITS.len() {
        left /= 1_024;
        unit += 1;
    }
    format!("{left} {}", UNITS[unit])
}

/// Text of strangers (names of topics, subjects) without what a terminal would obey, cut to `most`
/// characters.
pub fn tame(text: &str, most: usize) -> String {
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    match shown.chars().count() > most {
        true => {
            let kept: String = shown.chars().take(most.saturating_sub(1)).collect();
            format!("{kept}…")
        }
        false => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let rows = [
            ["a".to_owned(), "7".to_owned()],
            ["long".to_owned(), "1200".to_owned()],
        ];
        let lines = table(["NAME", "LAG"], [false, true], &rows);
        assert_eq!(lines, ["NAME   LAG", "a        7", "long  1200"]);
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let ages = [5, 119, 600, 7_200, 200_000].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["5s", "119s", "10m", "2h", "2d"]);
        assert_eq!(
            [9_000, 65_536, 3 << 30].map(bytes),
            ["9000 B", "64 KiB", "3072 MiB"]
        );
        assert_eq!(tame("a\x1b[2Jb", 20), "a?[2Jb");
        assert_eq!(tame("abcdef", 4), "abc…");
    }
}
