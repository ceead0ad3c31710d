use std::future::Future;

use tokio::time::{Instant, sleep, timeout};

use super::*;

const SOON: Duration = Duration::from_millis(1);

fn two_on(dir: &Path) -> Boots {
    Boots::open(dir, Some(2)).unwrap()
}

async fn now(permit: impl Future<Output = BootPermit>) -> Option<BootPermit> {
    timeout(SOON, permit).await.ok()
}

#[tokio::test(start_paused = true)]
async fn restarts_go_before_starts_and_each_in_the_order_of_asking() {
    let dir = tempfile::tempdir().unwrap();
    let boots = Boots::open(dir.path(), Some(1)).unwrap();
    let first = boots.acquire(BootKind::Start).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asking = Vec::new();
    for (n, kind) in [BootKind::Start, BootKind::Start, BootKind::Restart, BootKind::Restart].into_iter().enumerate() {
        let (boots, order) = (boots.clone(), order.clone());
        asking.push(tokio::spawn(async move {
            let _permit = boots.acquire(kind).await;
            order.lock().unwrap().push(n);
            sleep(SOON).await;
        }));
        sleep(SOON).await;
    }
    drop(first);
    for task in asking {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [2, 3, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_no_hole_and_a_dropped_permit_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let boots = two_on(dir.path());
    let (first, _second) = (boots.acquire(BootKind::Start).await, boots.acquire(BootKind::Start).await);
    assert!(now(boots.acquire(BootKind::Restart)).await.is_none());
    // Granted, and dropped before anyone looked.
    let mut asked = Box::pin(boots.acquire(BootKind::Restart));
    assert!(now(asked.as_mut()).await.is_none());
    drop(first);
    drop(asked);
    let third = now(boots.acquire(BootKind::Start)).await;
    assert!(third.is_some());
    assert!(now(boots.acquire(BootKind::Restart)).await.is_none());
    drop(third);
    assert!(now(boots.acquire(BootKind::Restart)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_the_places_and_one_that_waits_sees_those_of_the_other_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (two_on(dir.path()), two_on(dir.path()));
    let (first, _second) = (ours.acquire(BootKind::Start).await, theirs.acquire(BootKind::Start).await);
    let began = Instant::now();
    tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        drop(first);
    });
    let _third = timeout(Duration::from_secs(9), theirs.acquire(BootKind::Start)).await.expect("a place");
    assert!(began.elapsed() <= Duration::from_secs(5) + POLL, "{:?}", began.elapsed());
    assert!(now(ours.acquire(BootKind::Restart)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn more_places_are_given_at_once_and_fewer_take_nobodys_away() {
    let dir = tempfile::tempdir().unwrap();
    let boots = two_on(dir.path());
    let mut held = vec![boots.acquire(BootKind::Start).await, boots.acquire(BootKind::Start).await];
    let more = tokio::spawn({
        let boots = boots.clone();
        async move { boots.acquire(BootKind::Start).await }
    });
    sleep(SOON).await;
    boots.resize(3);
    held.push(now(async { more.await.unwrap() }).await.expect("a place"));
    boots.resize(1);
    for left in [2, 1, 0] {
        assert!(now(boots.acquire(BootKind::Restart)).await.is_none(), "{left}");
        held.pop();
    }
    assert!(now(boots.acquire(BootKind::Restart)).await.is_some());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_bounds_this_process_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let boots = Boots::open(&dir.path().join("boots"), Some(1)).unwrap();
    fs::remove_dir(dir.path().join("boots")).unwrap();
    let first = now(boots.acquire(BootKind::Start)).await;
    assert!(first.is_some());
    assert!(now(boots.acquire(BootKind::Start)).await.is_none());
}

#[test]
fn places_to_boot_in_follow_from_what_a_boot_was_measured_to_use_and_keep_every_core_busy() {
    assert_eq!(boot_places(Accelerator::Kvm, 4, None), Some(8));
    assert_eq!(boot_places(Accelerator::Kvm, 4, Some(2.0)), Some(2));
    assert_eq!(boot_places(Accelerator::Kvm, 1, Some(4.0)), Some(1));
    assert_eq!(boot_places(Accelerator::Tcg, 4, None), Some(4));
    assert_eq!(boot_places(Accelerator::Tcg, 4, Some(0.9)), Some(5));
    assert_eq!(boot_places(Accelerator::Tcg, 4, Some(0.01)), Some(8));
    assert_eq!(boot_places(Accelerator::Tcg, 4, Some(2.0)), Some(2));
    assert_eq!(boot_places(Accelerator::Sim, 4, None), None);
}
