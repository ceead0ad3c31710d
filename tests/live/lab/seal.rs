//! Machines that begin from a sealed one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bootgate::{
    lab::{Lab as _, LabError, Vm, VmEvent, VmEvents, VmSpec},
    model::{GoldenImage, Network, Sha256},
};

use super::{
    guest::{PING, booted, run},
    harness::{TestLab, lab_image, next, until, wait_for, with_lab},
};

fn spec(image: &GoldenImage, seal: Option<&Path>) -> VmSpec {
    VmSpec {
        run: "test".into(),
        cell: "cell".into(),
        image: image.clone(),
        network: Network::None,
        seal: seal.map(Path::to_owned),
    }
}

/// Boots a machine of this image and seals it.
async fn seal(shared: &TestLab, image: &GoldenImage) -> PathBuf {
    let dir = shared.state().path().join("seals/test");
    shared.lab.seal_folder(&dir).unwrap();
    let (vm, mut events) = shared.lab.create(spec(image, None)).await.unwrap();
    vm.start().await.unwrap();
    booted(&*vm, &mut events).await;
    run(&*vm, "echo sealed >/root/sealed").await.unwrap();
    let begun = Instant::now();
    vm.seal(&dir).await.unwrap();
    println!("sealed in {:?}", begun.elapsed());
    vm.destroy().await.unwrap();
    dir
}

async fn start(shared: &TestLab, image: &GoldenImage, seal: &Path) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
    let begun = Instant::now();
    let (vm, events) = shared.lab.create(spec(image, Some(seal))).await?;
    println!("created {:?}", begun.elapsed());
    let started = vm.start().await;
    println!("restored {:?}", begun.elapsed());
    if let Err(error) = started {
        vm.destroy().await.unwrap();
        return Err(error);
    }
    until("the agent answers", async || vm.agent(PING, Duration::from_secs(10)).await.is_ok()).await;
    println!("answers {:?}", begun.elapsed());
    Ok((vm, events))
}

fn digests(dir: &Path) -> Vec<(PathBuf, Sha256)> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The Wine image has a folder of its own.
    files.retain(|file| file.is_file());
    files.sort();
    files.into_iter().map(|file| (file.clone(), Sha256::of(&fs::read(file).unwrap()))).collect()
}

async fn file(vm: &dyn Vm, path: &str) -> Option<String> {
    let open = format!(r#"{{"execute":"guest-file-open","arguments":{{"path":"{path}"}}}}"#);
    let handle = vm.agent(&open, Duration::from_secs(20)).await.ok()?;
    let read = format!(r#"{{"execute":"guest-file-read","arguments":{{"handle":{handle}}}}}"#);
    let reply: serde_json::Value = serde_json::from_str(&vm.agent(&read, Duration::from_secs(20)).await.ok()?).ok()?;
    let text = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, reply["buf-b64"].as_str()?).ok()?;
    Some(String::from_utf8(text).unwrap())
}

#[test]
fn clones_of_one_seal_write_different_data_at_once_and_touch_neither_it_nor_each_other() {
    with_lab(async |shared| {
        let image = lab_image("lab-os-10-p1");
        let images = image.disk.parent().unwrap();
        let seal = seal(shared, &image).await;
        let before = (digests(&seal), digests(images));
        let started =
            tokio::join!(start(shared, &image, &seal), start(shared, &image, &seal), start(shared, &image, &seal));
        let mut clones = [started.0.unwrap(), started.1.unwrap(), started.2.unwrap()];
        for (n, (vm, events)) in clones.iter_mut().enumerate() {
            assert_eq!(next(events).await, VmEvent::Started);
            run(&**vm, &format!("echo {n} >/root/mine; dd if=/dev/urandom of=/root/noise bs=1M count=5; sync"))
                .await
                .unwrap();
        }
        for (n, (vm, events)) in clones.iter_mut().enumerate() {
            let written = async || file(&**vm, "/root/mine").await == Some(format!("{n}\n"));
            until("the clone has written", written).await;
            let _ =
                vm.agent(r#"{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}"#, Duration::from_secs(2)).await;
            wait_for(events, &VmEvent::Reset).await;
        }
        for (n, (vm, events)) in clones.iter_mut().enumerate() {
            booted(&**vm, events).await;
            assert_eq!(file(&**vm, "/root/mine").await, Some(format!("{n}\n")), "another clone's data");
            assert_eq!(file(&**vm, "/root/sealed").await, Some("sealed\n".to_owned()));
            vm.destroy().await.unwrap();
        }
        assert_eq!((digests(&seal), digests(images)), before, "a clone wrote to what it shares");
    });
}

#[test]
fn a_damaged_or_foreign_seal_is_an_error_and_never_a_machine() {
    with_lab(async |shared| {
        let image = lab_image("lab-os-10-p1");
        let seal = seal(shared, &image).await;
        let memory = seal.join("memory");
        let whole = fs::read(&memory).unwrap();
        fs::set_permissions(&memory, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let half = &whole[..whole.len() / 2];
        let foreign = String::from_utf8_lossy(&whole[..2000]).replace("bootgate-", "somebody-");
        for (what, bytes) in [("cut", half), ("empty", &[][..]), ("foreign", foreign.as_bytes())] {
            fs::write(&memory, bytes).unwrap();
            let error = start(shared, &image, &seal).await.map(drop).expect_err(what);
            println!("{what}: {error}");
        }
        fs::write(&memory, &whole).unwrap();
        let (vm, _events) = start(shared, &image, &seal).await.expect("whole again");
        vm.destroy().await.unwrap();
    });
}
