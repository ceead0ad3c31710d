use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::{
    event::RunState,
    gate::Ruling,
    model::Millis,
    notify::{Decided, Patience, Target, Telling, Told},
};

/// Whom to tell the decision.
#[derive(Clone, clap::Args)]
pub struct NotifyArgs {
    /// Tell the decision to this webhook: [generic=|slack=|teams=]URL, where ${env:NAME} stands for a secret. Whether it can
    /// be told changes nothing. May be repeated
    #[arg(long = "notify", value_name = "URL")]
    urls: Vec<String>,
    /// Give up telling after this time
    #[arg(long = "notify-timeout", value_name = "TIME", default_value = "30s", requires = "urls")]
    timeout: Millis,
}

/// Without the URLs, which may be secrets.
impl std::fmt::Debug for NotifyArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifyArgs").field("urls", &self.urls.len()).field("timeout", &self.timeout).finish()
    }
}

impl NotifyArgs {
    /// Checks whom to tell; to be called before anything starts.
    ///
    /// # Errors
    /// A webhook cannot be used.
    pub fn check(&self) -> anyhow::Result<()> {
        self.targets().map(drop)
    }

    /// Whether there is anybody to tell.
    pub fn is_wanted(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Tells the decision, and warns of whom it could not be told.
    pub fn tell_of(&self, state: &RunState, ruling: &Ruling) {
        if let Some(telling) = self.begin(state, ruling) {
            warn(&telling.wait());
        }
    }

    /// The same, until it is told to stop.
    pub async fn tell_of_until(&self, stop: &CancellationToken, state: &RunState, ruling: &Ruling) {
        let Some(telling) = self.begin(state, ruling) else { return };
        // Not one of the runtime's threads: its end would wait for them.
        let (sender, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || sender.send(telling.wait()));
        tokio::select! {
            told = told => warn(&told.unwrap_or_default()),
            () = stop.cancelled() => tell!("warning: stopped while the decision was being told"),
        }
    }

    /// None: there is nobody to tell.
    fn begin(&self, state: &RunState, ruling: &Ruling) -> Option<Telling> {
        if !self.is_wanted() {
            return None;
        }
        let targets = self.targets().inspect_err(|error| tell!("warning: nobody was told the decision: {error:#}"));
        let patience = Patience { deadline: self.timeout.as_duration(), ..Patience::default() };
        Some(Telling::begin(targets.ok()?, &Decided::of(state, ruling), patience))
    }

    fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let env = |name: &str| std::env::var(name).ok();
        let target = |(n, url): (usize, &String)| {
            // The URL itself may be a secret.
            Target::parse(url, &env).with_context(|| match self.urls.len() {
                1 => "--notify".to_owned(),
                _ => format!("--notify, number {}", n + 1),
            })
        };
        self.urls.iter().enumerate().map(target).collect()
    }
}

fn warn(all: &[Told]) {
    for Told { target, failed } in all {
        if let Some(why) = failed {
            tell!("warning: {target} was not told the decision: {why}");
        }
    }
}
