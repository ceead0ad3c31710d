/// The pixels of a screen.
#[derive(Clone, Copy)]
pub(super) struct Picture<'a> {
    pub width: usize,
    pub height: usize,
    rgb: &'a [[u8; 3]],
}

impl<'a> Picture<'a> {
    /// None: the sizes do not fit.
    pub fn new(width: u32, height: u32, rgb: &'a [u8]) -> Option<Self> {
        let [width, height] = [width, height].map(|size| size as usize);
        let (rgb, rest) = rgb.as_chunks();
        (rest.is_empty() && !rgb.is_empty() && width.checked_mul(height) == Some(rgb.len())).then_some(Picture {
            width,
            height,
            rgb,
        })
    }

    pub fn pixels(self) -> usize {
        self.rgb.len()
    }

    /// Whether a row of pixels has this colour throughout.
    pub fn is_plain(self, x: usize, y: usize, width: usize, colour: [u8; 3]) -> bool {
        let row = self.rgb[y * self.width + x..][..width].as_flattened();
        row.starts_with(&colour) && row[3..] == row[..row.len() - 3]
    }

    pub fn at(self, x: usize, y: usize) -> [u8; 3] {
        self.rgb[y * self.width + x]
    }
}
