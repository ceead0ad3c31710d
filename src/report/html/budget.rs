use crate::model::{Bytes, count};

/// How much of everything goes into a page, so that one of hundreds of cells still opens. Cells are asked for in the
/// order of their weight: what is left out is the healthy ones'.
pub(super) struct Budget {
    pictures: u64,
    output: u64,
    verdicts: usize,
    left_out: LeftOut,
}

#[derive(Default)]
struct LeftOut {
    pictures: usize,
    outputs: usize,
    verdicts: usize,
}

/// Bytes of all pictures in one page.
const PICTURES: u64 = 12 * Bytes::MIB;

/// Bytes of what all steps wrote.
const OUTPUT: u64 = 6 * Bytes::MIB;

/// Cells whose deciding signals are looked for: each is judged some hundred times for that.
const VERDICTS: usize = 200;

impl Budget {
    pub(super) fn new() -> Self {
        Self { pictures: PICTURES, output: OUTPUT, verdicts: VERDICTS, left_out: LeftOut::default() }
    }

    /// Whether there is room for a picture of so many bytes.
    pub(super) fn picture(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.pictures;
        if fits {
            self.pictures -= bytes
        } else {
            self.left_out.pictures += 1
        }
        fits
    }

    /// So many pictures are left out anyway.
    pub(super) fn without_pictures(&mut self, pictures: usize) {
        self.left_out.pictures += pictures;
    }

    /// Whether there is room for so much output.
    pub(super) fn output(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = bytes <= self.output;
        if fits {
            self.output -= bytes
        } else {
            self.left_out.outputs += 1
        }
        fits
    }

    /// Whether one more verdict can be traced to its signals.
    pub(super) fn verdict(&mut self) -> bool {
        let fits = self.verdicts > 0;
        if fits {
            self.verdicts -= 1
        } else {
            self.left_out.verdicts += 1
        }
        fits
    }

    /// What is missing in the page, and where it is; none: nothing.
    pub(super) fn left_out(&self) -> Option<String> {
        let LeftOut { pictures, outputs, verdicts } = self.left_out;
        let parts = [
            (pictures > 0).then(|| format!("{} (in the folders of their cells)", count(pictures, "picture"))),
            (outputs > 0).then(|| format!("{} of steps (in junit.xml)", count(outputs, "output"))),
            (verdicts > 0)
                .then(|| format!("the deciding signals of {} (see `bootgate judge`)", count(verdicts, "cell"))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("Left out, so that this page opens quickly: {}.", parts.join("; ")))
    }
}
