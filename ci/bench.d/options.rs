use std::path::PathBuf;

/// Measures what bootgate costs on this host, prints a table, and writes every number as JSON.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ci/bench",
    bin_name = "ci/bench",
    after_help = "\
Measurements:
  1  how near a run comes to the shortest possible one, live starts with seals made before
  2  live starts against cold ones
  3  bootgate against the script in ci/bench.d/baseline
  4  from a fault in the guest to its verdict
  5  10,000 simulated cells in virtual time, 50 in real time

Exit code: 0 everything was measured, whether or not goals are met; 1 something could not be measured, or a verdict
is not what it must be; 130 cancelled."
)]
pub struct Options {
    /// Only these measurements
    #[arg(long, value_name = "1,2,...", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=5))]
    only: Vec<u8>,
    /// Cells in measurements 1 to 3; made a multiple of the three images
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=999))]
    pub cells: u32,
    /// Cells of the simulation in virtual time
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub simulated: u32,
    /// Where the numbers go
    #[arg(long, value_name = "FILE", default_value = "target/bench/bench.json")]
    pub json: PathBuf,
    /// Leave the runs and their logs in place, and say where
    #[arg(long)]
    pub keep: bool,
    /// In a process of its own, so that its memory and CPU time are its own
    #[arg(long, hide = true, value_name = "ORDER")]
    pub simulate: Option<String>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub fn wants(&self, number: u8) -> bool {
        self.only.is_empty() || self.only.contains(&number)
    }

    /// How many values the axis has that makes cells of one image.
    pub fn values(&self) -> u32 {
        self.cells.div_ceil(3)
    }
}
