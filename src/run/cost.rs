use std::collections::HashMap;

use crate::{
    lab::LEAST_SHARE,
    model::{CellId, Millis, SignalKind},
};

/// Waiting for a core may be at most so much of a boot for it to say anything.
const MOST_WAITED: f64 = 0.9;

/// Finds out how many cores a boot really uses, from what cells tell.
#[derive(Debug, Default)]
pub struct BootCosts {
    /// How long a machine's CPUs had waited for a core when its boot began, and by now.
    waited: HashMap<CellId, Option<(Millis, Millis)>>,
}

impl BootCosts {
    /// Takes in a signal; answers with the cores that a boot used when it has just ended. `cpus`: those of the machine.
    pub fn see(&mut self, cell: &CellId, signal: &SignalKind, cpus: u32) -> Option<f64> {
        match signal {
            SignalKind::RestartAsked { .. } => drop(self.waited.insert(cell.clone(), None)),
            SignalKind::Progress { progress } => {
                if let Some(waited) = self.waited.get_mut(cell) {
                    let first = waited.map_or(progress.lab.cpu_wait, |(first, _)| first);
                    *waited = Some((first, progress.lab.cpu_wait));
                }
            }
            SignalKind::BootCost { took, cpu, .. } => {
                let waited = self.waited.remove(cell).flatten().map_or(Millis::ZERO, |(first, last)| last.since(first));
                return cores(*took, *cpu, waited, cpus);
            }
            _ => {}
        }
        None
    }

    /// The cell has ended.
    pub fn forget(&mut self, cell: &CellId) {
        self.waited.remove(cell);
    }
}

/// None: the boot says nothing, because it was instant or did little else than wait.
fn cores(took: Millis, cpu: Millis, waited: Millis, cpus: u32) -> Option<f64> {
    let (took, cpus) = (took.0 as f64, f64::from(cpus.max(1)));
    let waited = waited.0 as f64;
    (took > 0.0 && waited <= took * MOST_WAITED).then(|| (cpu.0 as f64 / (took - waited)).clamp(LEAST_SHARE, cpus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabTime, Progress, RestartVia};

    const S: u64 = 1000;

    #[test]
    fn time_in_which_the_host_had_no_core_is_no_part_of_a_boot() {
        assert_eq!(cores(Millis(10 * S), Millis(5 * S), Millis::ZERO, 1), Some(0.5));
        assert_eq!(cores(Millis(10 * S), Millis(4 * S), Millis(2 * S), 1), Some(0.5));
        assert_eq!(cores(Millis(10 * S), Millis(10 * S), Millis(5 * S), 2), Some(2.0));
        assert_eq!(cores(Millis(10 * S), Millis(90 * S), Millis::ZERO, 2), Some(2.0));
        assert_eq!(cores(Millis(10 * S), Millis::ZERO, Millis::ZERO, 2), Some(0.1));
        assert_eq!(cores(Millis::ZERO, Millis(S), Millis::ZERO, 2), None);
        assert_eq!(cores(Millis(10 * S), Millis(S), Millis(10 * S), 1), None);
    }

    #[test]
    fn only_what_was_waited_since_the_request_counts() {
        let mut costs = BootCosts::default();
        let cell = CellId::from("a");
        let waited = |ms| {
            let lab = LabTime { cpu_wait: Millis(ms), ..LabTime::default() };
            SignalKind::Progress { progress: Progress { lab, ..Progress::default() } }
        };
        let (took, cpu) = (Millis(10 * S), Millis(4 * S));
        let cost = SignalKind::BootCost { took, waited: Millis::ZERO, cpu, probe_us: None };
        assert_eq!(costs.see(&cell, &waited(9 * S), 1), None);
        assert_eq!(costs.see(&cell, &SignalKind::RestartAsked { via: RestartVia::Agent }, 1), None);
        assert_eq!(costs.see(&cell, &waited(50 * S), 1), None);
        assert_eq!(costs.see(&cell, &waited(52 * S), 1), None);
        assert_eq!(costs.see(&cell, &cost, 1), Some(0.5));
        assert_eq!(costs.see(&cell, &cost, 1), Some(0.4));
    }
}
