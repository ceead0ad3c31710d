use super::Context;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: Args, _context: &Context) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
