use std::path::Path;

use super::*;

/// A domain whose disk is this file.
fn domain(file: &str) -> String {
    include_str!("../domain/xml/secure.xml").replace("/var/lib/libvirt/images/win11.qcow2", file)
}

/// A snapshot as `virsh snapshot-dumpxml` prints it.
fn snapshot(kind: &str, state: &str, then: &str) -> String {
    format!(
        "<domainsnapshot><name>clean</name><state>{state}</state><creationTime>1760000000</creationTime>\
         <memory snapshot='no'/><disks><disk name='sda' snapshot='no'/><disk name='vda' snapshot='{kind}' type='file'>\
         <driver type='qcow2'/><source file='/vm/win11.clean'/></disk></disks>{then}</domainsnapshot>"
    )
}

#[test]
fn a_domain_at_rest_is_its_own_disk() {
    let source = Source::domain(&domain("/vm/win11.qcow2")).unwrap();
    let pick = Pick { file: "/vm/win11.qcow2".into(), format: "qcow2".into(), snapshot: None };
    assert_eq!((source.pick, source.notes), (pick, vec![]));
}

#[test]
fn an_internal_snapshot_is_taken_out_of_the_file_that_it_is_in() {
    let now = domain("/vm/win11.qcow2");
    let xml = snapshot("internal", "shutoff", &now);
    let source = Source::snapshot(&xml, "clean", &now, None).unwrap();
    assert_eq!(source.pick.snapshot.as_deref(), Some("clean"));
    assert_eq!(source.pick.file, Path::new("/vm/win11.qcow2"));
    assert!(source.notes.iter().any(|note| note.contains("TPM state are those of now")), "{:?}", source.notes);
    let error = Source::snapshot(&xml, "clean", &now, Some(&now)).unwrap_err().to_string();
    assert!(error.contains("the domain runs") && error.contains("shut it down first"), "{error}");
}

#[test]
fn an_external_snapshot_is_the_file_below_the_one_that_is_written_now() {
    let (then, now) = (domain("/vm/win11.qcow2"), domain("/vm/win11.clean"));
    let xml = snapshot("external", "disk-snapshot", &then);
    for runs in [None, Some(now.as_str())] {
        let source = Source::snapshot(&xml, "clean", &now, runs).unwrap();
        assert_eq!(source.pick, Pick { file: "/vm/win11.qcow2".into(), format: "qcow2".into(), snapshot: None });
        assert!(source.notes.iter().any(|note| note.contains("power cut")), "{:?}", source.notes);
    }
}

#[test]
fn a_snapshot_whose_file_is_written_again_or_that_left_the_disk_out_is_refused() {
    let then = domain("/vm/win11.qcow2");
    let error =
        |xml: &str, now: &str, runs: Option<&str>| Source::snapshot(xml, "clean", now, runs).unwrap_err().to_string();
    let external = snapshot("external", "shutoff", &then);
    assert!(error(&external, &then, None).contains("writes to the snapshot's own file"));
    assert!(error(&external, &domain("/vm/win11.clean"), Some(&then)).contains("writes to the snapshot's own file"));
    assert!(error(&snapshot("no", "shutoff", &then), &then, None).contains("left the disk out"));
    assert!(error("<domainsnapshot/>", &then, None).contains("does not say what the domain was"));
    assert!(error("<x", &then, None).contains("cannot read the snapshot's definition"));
    let raw = then.replace("type='qcow2'", "type='raw'");
    assert!(error(&snapshot("internal", "shutoff", &raw), &raw, None).contains("only qcow2 files"));
}
