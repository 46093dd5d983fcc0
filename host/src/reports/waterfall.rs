//! Draws the stages of a report as bars over time.

use serde_json::Value as Json;

use super::escape::{cut, visible};
use super::report::StageReport;
use crate::telemetry::trace_tree::{Bar, notes};

/// Lines that are drawn: more than a screen or two is no picture any more.
const LINES_MAX: usize = 200;
/// Characters of a span's name.
const NAME_CHARS_MAX: usize = 60;
/// Characters of what stands behind a bar, each.
const NOTE_CHARS_MAX: usize = 60;

/// One line a span, below each other as they hang, `total_us` wide. No stages give an
/// empty text.
pub(super) fn draw(stages: &[StageReport], total_us: u64) -> String {
    let mut canvas = Canvas { out: String::new(), lines: 0, left_out: 0, total_us, total_ns: (i128::from(total_us) * 1_000).max(1) };
    for root in stages {
        canvas.span(root, "", None);
    }
    if canvas.left_out > 0 {
        canvas.out += &format!("… {} more\n", canvas.left_out);
    }
    canvas.out
}

struct Canvas {
    out: String,
    lines: usize,
    left_out: usize,
    total_us: u64,
    total_ns: i128,
}

impl Canvas {
    /// `last` is `None` for a root, else whether this is its parent's last child.
    fn span(&mut self, stage: &StageReport, indent: &str, last: Option<bool>) {
        let (elbow, below) = match last {
            None => ("", ""),
            Some(true) => ("└─ ", "   "),
            Some(false) => ("├─ ", "│  "),
        };
        if self.lines < LINES_MAX {
            self.lines += 1;
            let notes = notes(&Json::Object(stage.attributes.clone()));
            let bar = Bar {
                label: &format!("{indent}{elbow}{}", cut(&visible(&stage.name), NAME_CHARS_MAX)),
                offset_ns: i128::from(stage.started_us) * 1_000,
                duration_us: stage.duration_us,
                // What did not end was still there at the end.
                open_us: self.total_us.saturating_sub(stage.started_us),
                failed: stage.error.is_some(),
                notes: &notes.iter().map(|note| cut(&visible(note), NOTE_CHARS_MAX)).collect::<Vec<_>>(),
            };
            bar.draw(&mut self.out, self.total_ns);
        } else {
            self.left_out += 1;
        }
        let indent = format!("{indent}{below}");
        for (number, child) in stage.children.iter().enumerate() {
            self.span(child, &indent, Some(number + 1 == stage.children.len()));
        }
    }
}
