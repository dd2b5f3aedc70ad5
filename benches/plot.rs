//! The picture: how figures grow with what is in flight, a curve for each peer.

use crate::peers::PEERS;
use crate::results::Results;
use crate::works::{Case, Figure, Work};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const PANEL: (u32, u32) = (760, 460);

/// So many times what was measured does the axis reach: that leaves room for the names.
const LEGEND: f64 = 24.0;

/// Far apart on the eye; sideloop's two drivers are the darkest.
const COLOURS: [RGBColor; 13] = [
    RGBColor(120, 120, 120),
    RGBColor(188, 143, 100),
    RGBColor(210, 180, 60),
    RGBColor(60, 160, 80),
    RGBColor(30, 140, 190),
    RGBColor(150, 100, 200),
    RGBColor(220, 90, 40),
    RGBColor(240, 140, 180),
    RGBColor(110, 190, 190),
    RGBColor(0, 0, 0),
    RGBColor(130, 0, 40),
    RGBColor(0, 0, 160),
    RGBColor(160, 0, 160),
];

/// The curve of a peer: how far to the right, and the figure.
type Curve = Vec<(f64, f64)>;

struct Panel {
    figure: &'static Figure,
    /// What is done, and what grows to the right.
    title: &'static str,
    curves: Vec<(&'static str, Curve)>,
}

/// Writes the picture, unless nothing was measured that has a curve.
pub(crate) fn write(place: &Path, results: &Results, works: &[&'static Work], peers: &[&'static str]) -> bool {
    let panels = panels(results, works, peers);
    if panels.is_empty() {
        return false;
    }
    match draw(place, &panels) {
        Ok(()) => true,
        Err(error) => {
            println!("no picture: {error}");
            false
        }
    }
}

fn panels(results: &Results, works: &[&'static Work], peers: &[&'static str]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for &work in works {
        let mut titles: Vec<&str> =
            work.cases.iter().map(|case| case.panel).filter(|title| !title.is_empty()).collect();
        titles.dedup();
        for title in titles {
            for figure in work.figures {
                let curve = |peer: &str| -> Curve {
                    let cases = work.cases.iter().filter(|case| case.panel == title);
                    let spread = |case: &Case| results.spread(work, case.label, peer, figure);
                    cases.filter_map(|case| Some((case.x.into(), spread(case)?.median))).collect()
                };
                let curves = peers.iter().map(|peer| (*peer, curve(peer))).filter(|(_, curve)| !curve.is_empty());
                panels.push(Panel { figure, title, curves: curves.collect() });
            }
        }
    }
    panels.retain(|panel| !panel.curves.is_empty());
    panels
}

fn draw(place: &Path, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    let rows = panels.len().div_ceil(2);
    let columns = panels.len().min(2);
    let root = SVGBackend::new(place, (PANEL.0 * columns as u32, PANEL.1 * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(root.split_evenly((rows, columns))) {
        draw_panel(panel, &area)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Box<dyn Error>> {
    let figure = panel.figure;
    let (what, grows) = panel.title.split_once(": ").unwrap_or((panel.title, ""));
    let all = || panel.curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let ends = |pick: fn((f64, f64)) -> f64| {
        all().map(pick).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (ends(|point| point.0), ends(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{what}: {}", figure.title), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d((left * 0.9..right * LEGEND).log_scale(), (low * 0.8..high * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(grows)
        .max_light_lines(0)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| figure.unit.write(*y))
        .draw()?;
    for (peer, curve) in &panel.curves {
        let index = PEERS.iter().position(|known| known.name == *peer).unwrap_or(0);
        let style = COLOURS[index % COLOURS.len()].stroke_width(if peer.starts_with("sideloop") { 3 } else { 1 });
        chart
            .draw_series(LineSeries::new(curve.iter().copied(), style).point_size(3))?
            .label(*peer)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::MiddleRight).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
