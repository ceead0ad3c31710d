use std::fmt::Write as _;

use super::{Context, Select, table::table};
use crate::model::{Cell, GoldenImage, Plan, count, one_line};

/// Most files beside the candidate that the table tells of.
const MAX_FILES: usize = 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate plan matrices/demo.yaml
  bootgate plan matrices/demo.yaml --only os=lab-os-10 --only patch=p1 --only patch=p2
  bootgate plan matrices/demo.yaml --candidate build/content.bin --format json

Nothing is started and no golden disk is read. Exit code 0: the plan is sound; 2: it is not.")]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// How to print the plan
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let planned = args.select.plan()?;
    let text = match args.format {
        Format::Table => for_people(&planned.plan),
        Format::Json => serde_json::to_string_pretty(&planned.plan)? + "\n",
    };
    context.print(&text)?;
    context.print_diagnostics(&planned.warnings);
    Ok(0)
}

fn for_people(plan: &Plan) -> String {
    let mut text = String::new();
    let controls = plan.cells.iter().filter(|cell| cell.role.is_control()).count();
    let cells = count(plan.cells.len() - controls, "cell");
    let cells = if controls == 0 { cells } else { format!("{cells} and {}", count(controls, "control")) };
    let _ = writeln!(text, "{}: {cells} on {}", plan.name, count(plan.images.len(), "golden image"));
    if let Some(candidate) = &plan.candidate {
        let _ = writeln!(text, "candidate  {}, {}", one_line(&candidate.path.display().to_string()), candidate.size);
        if let Some(about) = &candidate.about {
            let _ = writeln!(text, "           {}", one_line(&about.to_string()));
        }
        let _ = writeln!(text, "           sha256 {}", candidate.sha256);
    }
    for (path, about) in plan.files.iter().take(MAX_FILES) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(text, "file       {}: {}", one_line(&name), one_line(&about.to_string()));
    }
    if plan.files.len() > MAX_FILES {
        let _ = writeln!(text, "           and {}", count(plan.files.len() - MAX_FILES, "more file"));
    }
    let _ = writeln!(text, "update     sha256 {}", plan.update_sha256);
    text.push('\n');
    let row = |cell: &Cell| {
        let state = plan.images.get(&cell.image).map_or("missing", state);
        let steps = format!("{} + {}", cell.setup.len(), cell.update.len());
        let checks = cell.health.checks.len().to_string();
        let (start, soak) = (cell.start.as_str().to_owned(), cell.health.soak.to_string());
        [cell.id.to_string(), cell.image.clone(), state.to_owned(), start, steps, checks, soak]
    };
    let rows: Vec<[String; 7]> = plan.cells.iter().map(row).collect();
    text + &table(["CELL", "IMAGE", "DISK", "START", "SETUP + UPDATE", "CHECKS", "SOAK"], &rows)
}

/// Whether all files of an image are there; their content is not looked at.
pub(super) fn state(image: &GoldenImage) -> &'static str {
    let below = image.backing.iter().map(|file| &file.disk);
    let boot = image.boot.iter().flat_map(|boot| [Some(&boot.kernel), boot.initrd.as_ref()]).flatten();
    let states = image.states().map(|state| &state.file);
    let all = std::iter::once(&image.disk).chain(below).chain(boot).chain(states).all(|path| path.is_file());
    match (all, &image.unbaked) {
        (_, Some(_)) => "not baked",
        (true, None) => "present",
        (false, None) => "missing",
    }
}
