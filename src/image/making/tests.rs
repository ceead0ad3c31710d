use super::{super::domain::Nvram, *};

/// A machine with this disk, made by `qemu-img` as the tests of the lab have it.
fn machine(folder: &Path, format: &str) -> String {
    let disk = folder.join("disk");
    image(&["create", "-q", "-f", format, disk.to_str().unwrap(), "1M"]);
    include_str!("../domain/xml/bios.xml").replace(
        "<source file='/vm/old.img'/>",
        &format!("<driver type='{format}'/><source file='{}'/>", disk.display()),
    )
}

fn image(args: &[&str]) {
    let output = Command::new(QEMU_IMG).args(args).output().expect("qemu-img is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn making(folder: &Path, source: Source) -> (Making, Shelf) {
    let making = Making {
        source,
        name: "old".into(),
        labels: BTreeMap::new(),
        family: Family::Windows,
        out: folder.join("images/golden"),
        compress: false,
        states: States::default(),
    };
    (making, Shelf::open(&folder.join("images/catalog.yaml")).unwrap())
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_disk_becomes_a_golden_image_that_the_catalogue_proves() {
    for format in ["raw", "qcow2"] {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::domain(&machine(folder.path(), format)).unwrap();
        let (making, shelf) = making(folder.path(), source);
        let made = take_in(&making, &shelf, &never()).unwrap();
        assert_eq!(names(&making.out), ["old.qcow2"]);
        let catalog = crate::catalog::Catalog::read(shelf.path()).unwrap();
        let image = catalog.image("old").unwrap();
        assert_eq!(image.disk, making.out.join("old.qcow2"));
        assert_eq!((image.vcpus, image.family), (2, Family::Windows));
        let cache = crate::catalog::DigestCache::open(folder.path().join("digests.json"));
        crate::catalog::verify(image, &cache, true, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!(made.entry.disk, "golden/old.qcow2");
        let again = take_in(&making, &Shelf::open(shelf.path()).unwrap(), &never()).unwrap_err();
        assert!(matches!(again, ImageError::Exists(_)), "{again}");
    }
}

#[test]
fn a_chain_is_flattened_and_an_internal_snapshot_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let xml = machine(folder.path(), "qcow2");
    let disk = folder.path().join("disk");
    image(&["snapshot", "-c", "a, clean one", disk.to_str().unwrap()]);
    let above = folder.path().join("above");
    image(&["create", "-q", "-f", "qcow2", "-b", disk.to_str().unwrap(), "-F", "qcow2", above.to_str().unwrap()]);
    let mut source = Source::domain(&xml).unwrap();
    for (file, snapshot, works) in
        [(&above, None, true), (&disk, Some("a, clean one"), true), (&disk, Some("another"), false)]
    {
        source.pick.file.clone_from(file);
        source.pick.snapshot = snapshot.map(str::to_owned);
        let (making, shelf) = making(folder.path(), source.clone());
        let made = take_in(&making, &shelf, &never());
        assert_eq!(made.is_ok(), works, "{made:?}");
        assert_eq!(names(&making.out).len(), usize::from(works));
        fs::remove_dir_all(folder.path().join("images")).unwrap();
    }
}

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::domain(&machine(folder.path(), "qcow2")).unwrap();
    let (stopped, shelf) = making(folder.path(), source.clone());
    let error = take_in(&stopped, &shelf, &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, ImageError::Stopped), "{error}");
    source.pick.file = folder.path().join("absent");
    let (absent, _) = making(folder.path(), source.clone());
    let error = take_in(&absent, &shelf, &never()).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("absent"), "{error}");
    fs::write(folder.path().join("absent"), "no qcow2").unwrap();
    let error = take_in(&absent, &shelf, &never()).unwrap_err().to_string();
    assert!(error.contains("qemu-img failed: qemu-img: Could not open"), "{error}");
    assert_eq!(names(&absent.out), Vec::<String>::new());
    assert!(!shelf.path().exists());
}

#[test]
fn variables_and_tpm_state_are_taken_along_or_it_is_told_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let secure = include_str!("../domain/xml/secure.xml");
    let mut source = Source::domain(secure).unwrap();
    let (nvram, tpm) = (folder.path().join("VARS.fd"), folder.path().join("tpm2-00.permall"));
    source.machine.nvram.as_mut().unwrap().path.clone_from(&nvram);
    let (mut making, _) = making(folder.path(), source);
    making.states.tpm = Some(tpm.clone());
    fs::create_dir_all(&making.out).unwrap();
    let [_, nvram_to, tpm_to] = making.files();
    let mut notes = Vec::new();
    assert!(take_nvram(&making, &nvram_to, &never(), &mut notes).unwrap().is_none());
    assert!(take_tpm_state(&making, &tpm_to, &mut notes).unwrap().is_none());
    assert!(notes[0].contains("VARS.fd") && notes[0].contains("firmware's own"), "{notes:?}");
    assert!(notes[1].contains("every clone has a new TPM"), "{notes:?}");

    fs::write(&nvram, "variables").unwrap();
    fs::write(&tpm, "state").unwrap();
    let taken = take_nvram(&making, &nvram_to, &never(), &mut notes).unwrap().unwrap();
    assert_eq!(fs::read(taken).unwrap(), b"variables");
    let taken = take_tpm_state(&making, &tpm_to, &mut notes).unwrap().unwrap();
    assert_eq!(fs::read(taken).unwrap(), b"state");
    assert_eq!(notes.len(), 2);

    let converted = folder.path().join("VARS.qcow2");
    image(&["create", "-q", "-f", "qcow2", converted.to_str().unwrap(), "64k"]);
    making.source.machine.nvram = Some(Nvram { path: converted, format: "qcow2".into() });
    let taken = take_nvram(&making, &nvram_to, &never(), &mut notes).unwrap().unwrap();
    assert_eq!(fs::read(taken).unwrap(), vec![0; 65536]);

    // A definition that leaves the place to libvirt.
    making.states.nvram =
        [folder.path().join("absent"), nvram].map(|path| Nvram { path, format: "raw".into() }).to_vec();
    making.source.machine.nvram = None;
    let taken = take_nvram(&making, &nvram_to, &never(), &mut notes).unwrap().unwrap();
    assert_eq!(fs::read(taken).unwrap(), b"variables");
}

#[test]
fn a_disk_that_would_hang_the_copying_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("one"), qcow2::tests::header(Some("two"))).unwrap();
    fs::write(path("two"), qcow2::tests::header(Some("one"))).unwrap();
    fs::write(path("far"), qcow2::tests::header(Some("nbd://127.0.0.1/x"))).unwrap();
    fs::write(path("whole"), qcow2::tests::header(None)).unwrap();
    fs::write(path("above"), qcow2::tests::header(Some("whole"))).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    for (name, format, why) in [
        ("one", "qcow2", "go round in a circle"),
        ("far", "qcow2", "no local file"),
        ("pipe", "raw", "no regular file"),
        ("absent", "raw", "cannot read"),
    ] {
        let error = is_chain_of_files(&path(name), format).unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
    is_chain_of_files(&path("above"), "qcow2").unwrap();
}
