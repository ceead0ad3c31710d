use std::io;

use clap::CommandFactory as _;

use super::{Cli, Context};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bootgate completions bash > ~/.local/share/bash-completion/completions/bootgate")]
pub struct Args {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

pub fn run(args: Args, _context: &Context) -> anyhow::Result<u8> {
    clap_complete::generate(args.shell, &mut Cli::command(), "bootgate", &mut io::stdout());
    Ok(0)
}
