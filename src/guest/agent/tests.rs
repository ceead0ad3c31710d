use std::path::Path;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::{
    lab::{LabError, Screenshot, Stats, VmFiles},
    model::Secrets,
};

/// A machine whose agent answers everything with the same words.
struct Parrot(Result<String, AgentError>);

#[async_trait]
impl Vm for Parrot {
    async fn start(&self) -> Result<(), LabError> {
        Ok(())
    }
    async fn agent(&self, _: &str, _: Duration) -> Result<String, AgentError> {
        self.0.clone()
    }
    async fn restart_acpi(&self) -> Result<(), LabError> {
        Ok(())
    }
    async fn reset(&self) -> Result<(), LabError> {
        Ok(())
    }
    async fn press_key(&self) -> Result<(), LabError> {
        Ok(())
    }
    async fn screenshot(&self) -> Result<Option<Screenshot>, LabError> {
        Ok(None)
    }
    async fn stats(&self) -> Result<Stats, LabError> {
        Ok(Stats::default())
    }
    async fn insert_medium(&self, _: Option<&Path>) -> Result<(), LabError> {
        Ok(())
    }
    fn files(&self) -> VmFiles {
        VmFiles { serial_log: "/none".into(), firmware_log: None, qemu_log: None, dir: "/none".into() }
    }
    async fn definition(&self) -> Result<String, LabError> {
        Ok(String::new())
    }
    async fn seal(&self, _: &Path) -> Result<(), LabError> {
        Ok(())
    }
    async fn keep_disk(&self, _: &Path) -> Result<(), LabError> {
        Ok(())
    }
    async fn destroy(&self) -> Result<(), LabError> {
        Ok(())
    }
}

/// Asks everything, and answers with all complaints.
fn ask_all(reply: Result<String, AgentError>) -> Vec<AgentError> {
    let (vm, transcript) = (Arc::new(Parrot(reply)), Transcript::new(Secrets::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let agent = Agent::new(vm, Duration::from_secs(1), &transcript);
        let mut complaints = Vec::new();
        complaints.extend(agent.ping().await.err());
        complaints.extend(agent.os_info().await.err());
        complaints.extend(agent.about().await.err());
        complaints.extend(agent.time().await.err());
        complaints.extend(agent.file_systems().await.err());
        complaints.extend(agent.network().await.err());
        complaints.extend(agent.write_file("/f", b"content").await.err());
        complaints.extend(agent.exec("/bin/true", &[]).await.err());
        complaints.extend(agent.exec_status(1).await.err());
        complaints.extend(agent.open("/f", "w").await.err());
        complaints.extend(agent.write(1, b"content").await.err());
        complaints.extend(agent.read_file("/f", 10).await.err());
        complaints.extend(agent.set_time(0).await.err());
        complaints.extend(agent.restart().await.err());
        let _ = transcript.text();
        complaints
    })
}

proptest! {
    #[test]
    fn whatever_an_agent_answers_is_an_answer_or_a_short_complaint(
        reply in prop_oneof![
            ".{0,200}",
            Just("{\"pid\": 1e99, \"exited\": 3, \"count\": -1}".to_owned()),
            Just("[{\"mountpoint\": 3}, {\"ip-addresses\": {}}, [], {\"name\": null, \"ip-addresses\": [{\"ip-address\": 7}]}]".to_owned()),
            Just("{\"version\": \"\", \"supported_commands\": [1, {\"name\": {}}]}".to_owned()),
            "\\{\"(count|pid|exited|buf-b64|eof)\": (-?[0-9]{1,30}|\"[A-Za-z=]{0,9}\"|true|null|\\[\\])\\}",
        ],
    ) {
        for complaint in ask_all(Ok(reply)) {
            prop_assert!(complaint.to_string().chars().count() < 2 * WORDS);
        }
    }
}

#[test]
fn a_complaint_without_end_is_cut() {
    let long = "\u{1}".repeat(5 << 20);
    for reply in [Err(AgentError::Refused(long.clone())), Ok(format!("\"{}\"", "x".repeat(5 << 20)))] {
        for complaint in ask_all(reply) {
            assert!(complaint.to_string().chars().count() < 2 * WORDS);
        }
    }
}

#[test]
fn facts_are_few_and_short() {
    let facts: BTreeMap<String, String> =
        (0..500).map(|n| (format!("{n}{}", "k".repeat(999)), "v".repeat(999))).collect();
    let vm = Arc::new(Parrot(Ok(serde_json::to_string(&facts).unwrap())));
    let transcript = Transcript::new(Secrets::default());
    let agent = Agent::new(vm, Duration::from_secs(1), &transcript);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let facts = runtime.block_on(agent.os_info()).unwrap();
    assert_eq!(facts.len(), FACTS);
    assert!(facts.iter().all(|(key, value)| key.len() <= 200 && value.len() <= 200));
}
