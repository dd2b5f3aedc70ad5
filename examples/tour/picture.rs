//! The picture of the table: five panels of bars and a key, as SVG. Made by the parent's main thread.

use crate::rounds::Row;
use crate::text;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use std::time::Duration;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const INK: RGBColor = RGBColor(36, 41, 51);
const SOFT: RGBColor = RGBColor(112, 120, 133);
const GRID: RGBColor = RGBColor(226, 229, 234);
const OTHERS: RGBColor = RGBColor(158, 167, 180);
const SIDELOOP: RGBColor = RGBColor(20, 136, 133);

const SIZE: (u32, u32) = (1000, 840);
const MARGIN: i32 = 36;
/// Where the panels begin.
const TOP: i32 = 104;
/// Room for the styles' names, and for the numbers behind the longest bar.
const LABEL: i32 = 136;
const NUMBER: i32 = 64;
const PITCH: i32 = 28;
const BAR: i32 = 16;

/// One panel: a title, and a bar for each style that has the number.
struct Panel {
    title: &'static str,
    bars: Vec<Option<(f64, String)>>,
    logarithmic: bool,
}

/// Draws the picture into `file`.
pub(crate) fn draw(file: &Path, title: &str, subtitle: &str, rows: &[Row]) -> Drawn {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    write(&root, title, (MARGIN, 34), 24, &INK, HPos::Left)?;
    write(&root, subtitle, (MARGIN, 62), 14, &SOFT, HPos::Left)?;
    let width = (SIZE.0 as i32 - 3 * MARGIN) / 2;
    let height = (SIZE.1 as i32 - TOP - MARGIN / 2) / 3;
    for (number, panel) in panels(rows).iter().enumerate() {
        let (column, line) = (number as i32 % 2, number as i32 / 2);
        let at = (MARGIN + column * (width + MARGIN), TOP + line * height);
        draw_panel(&root, panel, rows, at, width)?;
    }
    draw_key(&root, (MARGIN + width + MARGIN, TOP + 2 * height))?;
    root.present()?;
    Ok(())
}

fn panels(rows: &[Row]) -> Vec<Panel> {
    let time = |time: Duration| (time.as_secs_f64(), text::duration(time));
    let count = |number: u64| (number as f64, text::count(number));
    let bytes = |number: u64| (number as f64, text::bytes(number));
    let panel = |title, logarithmic, bar: &dyn Fn(&Row) -> Option<(f64, String)>| Panel {
        title,
        bars: rows.iter().map(bar).collect(),
        logarithmic,
    };
    vec![
        panel("Time", false, &|row| row.middle(|run| run.time).map(time)),
        panel("Main thread at work (processor time, share of the time)", false, &|row| {
            row.busy().map(|busy| (busy, format!("{busy:.0} %")))
        }),
        panel("Main thread blocked at the longest", false, &|row| row.middle(|run| run.blocked).map(time)),
        panel("Threads started (logarithmic)", true, &|row| row.most(|run| Some(run.started)).map(count)),
        panel("Peak memory of the process", false, &|row| row.most(|run| run.memory).map(bytes)),
    ]
}

fn draw_panel(root: &Area, panel: &Panel, rows: &[Row], (left, top): (i32, i32), width: i32) -> Drawn {
    write(root, panel.title, (left, top + 10), 16, &INK, HPos::Left)?;
    let start = left + LABEL;
    let room = f64::from(width - LABEL - NUMBER);
    let first = top + 40;
    let last = first + PITCH * rows.len() as i32 - (PITCH - BAR);
    let largest = panel.bars.iter().flatten().map(|(value, _)| *value).fold(0.0, f64::max);
    if panel.logarithmic {
        // A line for each power of ten says what the lengths mean.
        for power in (0..).map(|power| 10_f64.powi(power)).take_while(|power| *power <= largest) {
            let x = start + (room * share(power, largest, true)) as i32;
            root.draw(&PathElement::new([(x, first - 6), (x, last + 6)], GRID))?;
        }
    }
    for (place, (row, bar)) in rows.iter().zip(&panel.bars).enumerate() {
        let y = first + PITCH * place as i32;
        let middle = y + BAR / 2;
        write(root, &row.style.short, (start - 10, middle), 13, &INK, HPos::Right)?;
        let Some((value, number)) = bar else {
            write(root, "not measured", (start + 6, middle), 13, &SOFT, HPos::Left)?;
            continue;
        };
        // A bar that is too short to see would look like none.
        let end = start + ((room * share(*value, largest, panel.logarithmic)) as i32).max(2);
        let color = if row.style.is_sideloop() { SIDELOOP } else { OTHERS };
        root.draw(&Rectangle::new([(start, y), (end, y + BAR)], color.filled()))?;
        write(root, number, (end + 8, middle), 13, &INK, HPos::Left)?;
    }
    root.draw(&PathElement::new([(start, first - 6), (start, last + 6)], SOFT))?;
    Ok(())
}

/// What the colors mean, and what was measured.
fn draw_key(root: &Area, (left, top): (i32, i32)) -> Drawn {
    write(root, "Key", (left, top + 10), 16, &INK, HPos::Left)?;
    for (place, (color, meaning)) in [(OTHERS, "without a library"), (SIDELOOP, "with sideloop")].iter().enumerate() {
        let y = top + 40 + PITCH * place as i32;
        root.draw(&Rectangle::new([(left, y), (left + 2 * BAR, y + BAR)], color.filled()))?;
        write(root, meaning, (left + 2 * BAR + 10, y + BAR / 2), 13, &INK, HPos::Left)?;
    }
    let notes = [
        "Each style ran in a process of its own.",
        "Blocked: between two moments in which the main thread",
        "could have done something else.",
    ];
    for (place, note) in notes.iter().enumerate() {
        let y = top + 40 + PITCH * 2 + 14 + 20 * place as i32;
        write(root, note, (left, y), 13, &SOFT, HPos::Left)?;
    }
    Ok(())
}

/// How long a bar is, as a share of the longest. A logarithmic axis begins at a half, so that 1 is visible.
fn share(value: f64, largest: f64, logarithmic: bool) -> f64 {
    match (logarithmic, largest > 0.0) {
        (_, false) => 0.0,
        (false, true) => value / largest,
        (true, true) => (value / 0.5).ln() / (largest / 0.5).ln(),
    }
}

fn write(root: &Area, text: &str, at: (i32, i32), size: i32, color: &RGBColor, side: HPos) -> Drawn {
    let style = ("Helvetica, Arial, sans-serif", size).into_font().color(color).pos(Pos::new(side, VPos::Center));
    root.draw(&Text::new(text, at, style))?;
    Ok(())
}
