//! The ratios as a picture.

use std::path::Path;

use plotters::prelude::*;

use crate::report::{Figures, Round};
use crate::server::Program;

/// Of the picture, in pixels.
const WIDTH: u32 = 900;

/// What of it is left of the bars and right of them, about.
const BESIDE: u32 = 68;

/// Draws two bars for each work, of which there must be one, into an SVG file.
pub fn draw(file: &Path, works: &[&Figures]) {
    let count = i32::try_from(works.len()).unwrap();
    let root = SVGBackend::new(file, (WIDTH, 420)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "sealedge, as a part of the same service linked natively",
            ("sans-serif", 20),
        )
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d((0..count - 1).into_segmented(), 0.0..1.3)
        .unwrap();
    let name = |at: &SegmentValue<i32>| match at {
        SegmentValue::CenterOf(at) => usize::try_from(*at)
            .ok()
            .and_then(|at| works.get(at))
            .map_or(String::new(), |figures| figures.work.to_string()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_label_formatter(&name)
        .y_label_formatter(&|ratio| format!("{ratio:.1}"))
        .draw()
        .unwrap();
    // Each bar takes its half of the work's segment, but for some room on the outside.
    let segment = (WIDTH - BESIDE) / u32::try_from(count).unwrap();
    let (outside, inside) = (segment / 8, segment.div_ceil(2));
    let series = [
        (
            "requests a second",
            Round::rate as fn(&Round) -> f64,
            BLUE,
            (outside, inside),
        ),
        (
            "requests for the same CPU",
            Round::thrift,
            GREEN,
            (inside, outside),
        ),
    ];
    for (label, of, colour, (left_margin, right_margin)) in series {
        let bars = works.iter().zip(0..).map(|(figures, at)| {
            let ratio = figures.ratio(Program::SEALEDGE, Program::NATIVE, of);
            let height = ratio.unwrap_or_default();
            let (left, right) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
            let mut bar = Rectangle::new([(left, 0.0), (right, height)], colour.mix(0.6).filled());
            bar.set_margin(0, 0, left_margin, right_margin);
            bar
        });
        chart
            .draw_series(bars)
            .unwrap()
            .label(label)
            .legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.mix(0.6).filled())
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()
        .unwrap();
    root.present().unwrap();
}
