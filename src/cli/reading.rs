use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Tells those who look at a terminal that large files are being read.
pub struct Reading {
    began: Instant,
    bytes: u64,
    bar: Option<ProgressBar>,
}

impl Reading {
    /// What takes longer is worth a line.
    const SHORT: Duration = Duration::from_secs(1);

    pub fn begin() -> Self {
        Self { began: Instant::now(), bytes: 0, bar: None }
    }

    pub fn more(&mut self, read: u64) -> ControlFlow<()> {
        self.bytes += read;
        if self.began.elapsed() > Self::SHORT {
            let new = || {
                let style = ProgressStyle::with_template("{spinner} {msg} {bytes}");
                let bar = style.map_or(ProgressBar::hidden(), |style| ProgressBar::new_spinner().with_style(style));
                bar.with_message("reading the files under test")
            };
            self.bar.get_or_insert_with(new).set_position(self.bytes);
        }
        ControlFlow::Continue(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
