use crate::model::one_line;

/// A moment of RFC 3339, in UTC, as people read it: seconds and less tell them nothing.
pub(super) fn minute(utc: &str) -> String {
    let minute = utc.get(..16).filter(|_| utc.ends_with('Z'));
    minute.map_or_else(|| utc.to_owned(), |minute| format!("{minute}Z"))
}

/// Lines up columns for people: the widest text of a column decides, two spaces between.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    // Names and paths may come from anywhere.
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|text| one_line(text))).collect();
    let width = |column: usize| {
        let texts = rows.iter().map(|row| row[column].as_str()).chain([head[column]]);
        texts.map(console::measure_text_width).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(text, width)| console::pad_str(text, width, console::Alignment::Left, None).into_owned());
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let title = console::Style::new().bold().apply_to(line(head).trim_end().to_owned()).to_string() + "\n";
    rows.iter().fold(title, |text, row| text + &line(std::array::from_fn(|column| row[column].as_str())))
}
