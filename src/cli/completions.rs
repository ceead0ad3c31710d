use clap::CommandFactory as _;

use super::{Cli, Context};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bootgate completions bash > ~/.local/share/bash-completion/completions/bootgate")]
pub struct Args {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    // The generators panic where they cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bootgate", &mut script);
    context.print(&String::from_utf8(script)?)?;
    Ok(0)
}
