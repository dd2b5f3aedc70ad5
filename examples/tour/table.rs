//! The table of all styles, and the notes under it. Printed by the parent's main thread.

use crate::rounds::Row;
use crate::text;

/// Prints what was measured; also when the tour was interrupted, for what there is.
pub(crate) fn print(rows: &[Row]) {
    // The widths are those of print_row.
    println!("{:43}threads  threads     peak   longest   main", "");
    println!("     {:<27} {:>8}  started  at once   memory     block    cpu  hash", "style", "time");
    println!("  {}", "─".repeat(90));
    for row in rows {
        print_row(row);
    }
    println!("  {}", "─".repeat(90));
}

fn print_row(row: &Row) {
    let (letter, name) = (row.style.letter, &row.style.name);
    let Some(time) = row.middle(|run| run.time) else {
        let reason = row.missing.as_deref().unwrap_or("not run yet");
        text::paragraph(&format!("  {letter}  {name:<27}  "), reason);
        return;
    };
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "n/a".to_string());
    println!(
        "  {letter}  {name:<27} {:>8} {:>8} {:>8} {:>8} {:>9} {:>6}  {}",
        text::duration(time),
        or_unknown(row.most(|run| Some(run.started)).map(text::count)),
        or_unknown(row.most(|run| Some(run.at_once)).map(text::count)),
        or_unknown(row.most(|run| run.memory).map(text::bytes)),
        or_unknown(row.middle(|run| run.blocked).map(text::duration)),
        or_unknown(row.busy().map(|busy| format!("{busy:.0} %"))),
        if row.same() { "same" } else { "DIFFERS" },
    );
    if let Some(reason) = &row.missing {
        text::paragraph("     ", &format!("(a later run failed: {reason})"));
    }
}

/// Says what the columns mean, and what all styles read.
pub(crate) fn explain(rows: &[Row], rounds: usize) {
    let median = if rounds > 1 { format!("the middle one of {rounds} runs") } else { "one run".to_string() };
    text::paragraph(
        "  ",
        &format!(
            "Time: {median}, with the hashing of every byte (Rust's CRC-32 uses wider instructions than that of the C \
             programs). Longest block: the longest time in a run between two moments in which the main thread could \
             have done something else; {median}. Main cpu: the main thread's processor time as a share of the time. \
             Threads include the main thread; memory is the process's own, with its language."
        ),
    );
    println!();
    text::paragraph(
        "  ",
        "The files were in memory, where reading one after the other is quick, and where a block is mostly one large \
         file, or the wait for a processor that the other threads use. What sideloop gives is not speed there, but a \
         main thread that is free meanwhile (main cpu), and that stays so when files are slow.",
    );
    println!();
    let runs: Vec<_> = rows.iter().filter(|row| !row.runs.is_empty()).collect();
    if let Some(first) = runs.first().and_then(|row| row.runs.first()) {
        let all = runs.len();
        let same = runs.iter().filter(|row| row.same()).count();
        let verdict = if same < all {
            format!("Only {same} of {all} styles read what the reference pass read")
        } else if runs.iter().flat_map(|row| &row.runs).all(|run| run.sum == first.sum) {
            format!("All {all} styles read the same")
        } else {
            format!("All {all} styles read the same, but for files that vanished meanwhile; the first")
        };
        text::paragraph(
            "  ",
            &format!(
                "{verdict}: {}, {}, hash {:016x}.",
                text::plural(first.sum.files, "file", "files"),
                text::plural(first.sum.bytes, "byte", "bytes"),
                first.sum.hash
            ),
        );
    }
    if let Some(driver) = rows.iter().flat_map(|row| &row.runs).find_map(|run| run.driver.as_deref()) {
        text::paragraph("  ", &format!("sideloop's driver here: {driver}."));
    }
}
