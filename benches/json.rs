//! As much JSON as is needed here: reads an object of numbers, and writes text.

/// Reads `{"key":number,...}`.
pub(crate) fn parse(line: &str) -> Result<Vec<(String, f64)>, String> {
    let wrong = || format!("not an object of numbers: {line:?}");
    let inside = line.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let member = |text: &str| {
        let (key, value) = text.split_once(':')?;
        let key = key.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    inside.split(',').filter(|text| !text.trim().is_empty()).map(|text| member(text).ok_or_else(wrong)).collect()
}

/// Writes a string with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
