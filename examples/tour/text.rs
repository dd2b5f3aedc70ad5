//! How numbers and sentences look in the terminal. Pure functions, called by the parent process on its main thread.

use std::time::Duration;

/// The width that the tour keeps to, so that it is readable in a terminal of 80 to 100 columns.
const WIDTH: usize = 92;

/// 10001 as "10,001".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 file", "2 files".
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Three digits and a unit: "38.0 µs", "212 ms", "1.93 s".
pub(crate) fn duration(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match ns {
        ns if ns < 999.5e3 => (ns / 1e3, "µs"),
        ns if ns < 999.5e6 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// Three digits and a decimal unit: "8.10 MB".
pub(crate) fn bytes(number: u64) -> String {
    let value = number as f64;
    match value {
        value if value < 999.5 => format!("{number} B"),
        value if value < 999.5e3 => format!("{} kB", three_digits(value / 1e3)),
        value if value < 999.5e6 => format!("{} MB", three_digits(value / 1e6)),
        value => format!("{} GB", three_digits(value / 1e9)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Prints a paragraph: `first` before its first line, blanks of the same width before the others.
pub(crate) fn paragraph(first: &str, text: &str) {
    let indent = first.chars().count();
    let mut line = first.to_string();
    let mut used = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if used > indent && used + 1 + width > WIDTH {
            println!("{line}");
            line = " ".repeat(indent);
            used = indent;
        }
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += width;
    }
    println!("{line}");
}

/// Prints a heading with a rule under it, and room around it.
pub(crate) fn heading(text: &str) {
    println!("\n  {text}\n  {}\n", "─".repeat(text.chars().count()));
}

/// A name from the file system so that it is safe to print: what is not UTF-8, and control characters, are escaped.
pub(crate) fn path(path: &std::path::Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
