use super::Context;
use crate::{
    catalog::CatalogFile,
    matrix::{MatrixFile, PolicyFile},
    report::result_schema,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: bootgate schema matrix > matrix.schema.json

Editors with a YAML language server then complete and check a matrix that begins with the line
  # yaml-language-server: $schema=matrix.schema.json")]
pub struct Args {
    /// The kind of file
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Of {
    /// What to test: axes, update, health
    #[default]
    Matrix,
    /// The golden images
    Catalog,
    /// An approver's own rules
    Policy,
    /// What a run came to, as result.json and `report --format json` have it
    Result,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let schema = match args.of {
        Of::Matrix => schemars::schema_for!(MatrixFile),
        Of::Catalog => schemars::schema_for!(CatalogFile),
        Of::Policy => schemars::schema_for!(PolicyFile),
        Of::Result => result_schema(),
    };
    context.print(&(serde_json::to_string_pretty(&schema)? + "\n"))?;
    Ok(0)
}
