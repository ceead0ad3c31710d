use crate::model::ControlFacts;

/// Most services and the longest name that are taken from a guest.
const SERVICES: usize = 500;
const NAME: usize = 100;

/// The severities of syslog (RFC 5424), by number.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Reads what [`GuestFamily::inventory`](super::GuestFamily::inventory) printed. Lines that make no sense are passed over.
pub fn read_inventory(text: &str, facts: &mut ControlFacts) {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["service", name] if facts.services.len() < SERVICES => {
                facts.services.push(name.chars().take(NAME).collect())
            }
            ["log", level, count] => {
                // Facility times eight, plus severity.
                if let (Ok(level), Ok(count)) = (level.parse::<usize>(), count.parse::<u64>()) {
                    let lines = facts.log_lines.entry(LEVELS[level % 8].to_owned()).or_default();
                    *lines = lines.saturating_add(count);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_log_lines_are_read_and_nonsense_is_passed_over() {
        let mut facts = ControlFacts::default();
        read_inventory(
            "service sshd\nlog 3 2\nlog 11 5\nlog x 1\nlog 6 99999999999999999999\n\u{1b}[1m\nservice a b\n",
            &mut facts,
        );
        assert_eq!(facts.services, ["sshd"]);
        assert_eq!(facts.log_lines.into_iter().collect::<Vec<_>>(), [("err".to_owned(), 7)]);
    }
}
