use super::Context;
use crate::lab::{self, libvirt};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate clean
  bootgate clean --seals

Bootgate cleans up after itself, also at the start of the next run: this verb is for when there is no next run. \
Machines of running bootgate processes, and everything that is not bootgate's, stay. So do seals, the settled machines \
that cells start from, unless --seals is given: the next run then makes them again.
Exit code 0: all of it is removed; 1: something could not be.")]
pub struct Args {
    /// Also look for machines in this libvirt: qemu:///session, qemu:///system
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
    /// Also remove every seal that no process uses (`bootgate images list` shows them)
    #[arg(long)]
    seals: bool,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let mut report = lab::CleanReport::default();
    if let Some(uri) = &args.connect {
        report.merge(libvirt::clean_domains(uri, &context.state)?);
    }
    report.merge(lab::clean(&context.state)?);
    let seals = context.seals();
    report.merge(if args.seals { seals.clear() } else { seals.sweep() });
    let mut text = String::new();
    for (name, pid) in &report.killed {
        text += &format!("killed {name} (process {pid})\n");
    }
    for name in &report.domains {
        text += &format!("ended {name} in libvirt\n");
    }
    for folder in &report.folders {
        text += &format!("removed {}\n", folder.display());
    }
    let kept = if args.seals { seals.list() } else { Vec::new() };
    for seal in kept.iter().filter(|seal| seal.in_use) {
        text += &format!("kept the seal {} of {}, which is in use\n", seal.about.key.short(), seal.about.image);
    }
    if text.is_empty() && report.failed.is_empty() {
        text = format!("nothing was left in {}\n", context.state.path().display());
    }
    context.print(&text)?;
    for failure in &report.failed {
        tell!("error: {failure}");
    }
    Ok(u8::from(!report.failed.is_empty()))
}
