use super::Context;
use crate::lab::{self, libvirt};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Bootgate cleans up after itself, also at the start of the next run: this verb is for when there is no next run.
Machines of running bootgate processes, and everything that is not bootgate's, stay.")]
pub struct Args {
    /// Also look for machines in this libvirt: qemu:///session, qemu:///system
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let mut report = lab::CleanReport::default();
    if let Some(uri) = &args.connect {
        report.merge(libvirt::clean_domains(uri, &context.state)?);
    }
    report.merge(lab::clean(&context.state)?);
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
    if report.is_empty() {
        text = format!("nothing was left in {}\n", context.state.path().display());
    }
    context.print(&text)?;
    for failure in &report.failed {
        tell!("error: {failure}");
    }
    Ok(u8::from(!report.failed.is_empty()))
}
