//! The tables: for each work and figure the peers in rows, the cases in columns.

use crate::results::{Results, Verdict};
use crate::works::{Figure, Work};

/// Prints all tables of a work. In brackets: how many times better the reference is than this peer.
pub(crate) fn print_work(results: &Results, work: &'static Work, peers: &[&'static str]) {
    let measured: Vec<&str> = (work.peers.iter().copied())
        .filter(|peer| peers.contains(peer))
        .filter(|peer| work.cases.iter().any(|case| results.spread(work, case.label, peer, &work.figures[0]).is_some()))
        .collect();
    if measured.is_empty() {
        return;
    }
    println!("\n{}: {}", work.name, work.title);
    for figure in work.figures {
        print_figure(results, work, figure, &measured);
    }
}

fn print_figure(results: &Results, work: &Work, figure: &Figure, measured: &[&str]) {
    let reference = results.reference(work);
    let note = reference.map_or(String::new(), |name| format!(" (in brackets: {name} is so many times better)"));
    println!("  {}{note}", figure.title);
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(work.cases.iter().map(|case| case.label.to_owned()));
    for peer in measured {
        let mut row = vec![(*peer).to_owned()];
        row.extend(work.cases.iter().map(|case| {
            let Some(spread) = results.spread(work, case.label, peer, figure) else { return "-".to_owned() };
            let ratio = reference.and_then(|name| results.ratio(work, case.label, figure, name, peer));
            let ratio = ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2})"));
            format!("{}{}{ratio}", figure.unit.write(spread.median), noise(spread.least, spread.most, spread.median))
        }));
        rows.push(row);
    }
    print_rows(&rows);
}

/// How far the runs were apart, where that matters.
fn noise(least: f64, most: f64, median: f64) -> String {
    let half = (most - least) / 2.0 / median * 100.0;
    if half >= 5.0 { format!(" ±{half:.0}%") } else { String::new() }
}

fn print_rows(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::from("    ");
        for (column, text) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column] - text.chars().count() + 2);
            // Names to the left, figures to the right.
            line += &if column == 0 { format!("{text}{gap}") } else { format!("{gap}{text}") };
        }
        println!("{}", line.trim_end());
    }
}

pub(crate) fn print_targets(verdicts: &[Verdict]) {
    println!("\ntargets");
    for Verdict { text, met } in verdicts {
        let word = match met {
            Some(true) => "met   ",
            Some(false) => "MISSED",
            None => "-     ",
        };
        println!("  {word}  {text}");
    }
}
