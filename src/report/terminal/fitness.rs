use std::{fmt::Write as _, path::Path};

use super::look::{Look, Mark};
use crate::report::{Finding, Fit};

/// What was found of a golden image, for people. `run_dir` is shown as the place of everything else.
pub fn fitness(image: &str, found: &[Finding], look: Look, run_dir: &Path) -> String {
    let mut text = format!("\n  {}\n\n", look.bold(image));
    for Finding { fit, about, detail } in found {
        let _ = writeln!(text, "{}", look.fit(&format!("    {} {about:<18} {detail}", look.mark(mark(*fit)))));
    }
    let sum = match found.iter().map(|one| one.fit).max() {
        Some(Fit::No) => "NOT FIT",
        Some(Fit::Partly) => "FIT, with what is said above",
        _ => "FIT",
    };
    let _ = writeln!(text, "\n  {}\n{}", look.bold(sum), look.dim(&format!("  {}", run_dir.display())));
    text
}

fn mark(fit: Fit) -> Mark {
    match fit {
        Fit::Yes => Mark::Healthy,
        Fit::Partly => Mark::Flaky,
        Fit::No => Mark::Unhealthy,
    }
}
