//! What moves while the tour works: bars and counters on standard error, where a terminal is there. The parent's main
//! thread draws them; they clear themselves away, so that only the story stays.

use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Deref;

/// A bar that is gone when its value is dropped, also when Ctrl-C ends the step.
pub(crate) struct Bar(ProgressBar);

impl Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar that fills up with files.
pub(crate) fn files(number: u64, what: &str) -> Bar {
    bar(ProgressBar::new(number), "     {bar:30.cyan/white.dim} {human_pos:>7} of {human_len}  {msg}", what)
}

/// A line of text that changes.
pub(crate) fn line(text: &str) -> Bar {
    bar(ProgressBar::new_spinner(), "     {spinner:.cyan} {msg}", text)
}

fn bar(bar: ProgressBar, template: &str, text: &str) -> Bar {
    // The templates above are valid; were one not, the bar would look plainer.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━━╌"));
    bar.set_message(text.to_string());
    Bar(bar)
}
