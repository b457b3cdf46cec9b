//! A state folder that is damaged, or put together from two backups: what a start says, and that it can be given up.

use super::*;
use crate::runtime::RunError;
use crate::state::DeadLettersSpec;
use crate::state::log::{FIRST_SEQ, Log, LogKind};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn in_folder<'a>(files: &'a Files, folder: &str) -> Vec<&'a PathBuf> {
    files.keys().filter(|path| path.starts_with(Path::new("/state").join(folder))).collect()
}

/// What is on the disk once a run was killed whose last checkpoint needs something of every log, with more behind it: so that
/// damage to the first record is told from a write that was torn.
fn of_a_killed_run() -> Files {
    const LOGS: [(&str, LogKind); 3] =
        [("journal", LogKind::Journal), ("events", LogKind::EventIds), ("outbox", LogKind::Outbox)];
    for tried in 0..1_000 {
        let (world, client) = in_world(3, false);
        let disk = world.disk();
        disk.fail_at(300 + tried % 10 * 20, Fault::PowerOff);
        if let Ok(pipeline) = build(&world, &client, &disk, &mut SeededRng::new(tried), as_it_is) {
            let _ = pipeline.run();
        }
        let disk = disk.after_power_loss(Survival::Everything);
        let spec = StateSpec { vfs: Arc::new(disk.clone()), ..spec_of_state() };
        let held = |(folder, kind): (&str, LogKind)| {
            let looked = Log::look(&disk, &spec.folder.join(folder), kind).expect("it is sound").expect("it is there");
            looked.segments[0]..looked.next_seq
        };
        let newest = survey(&spec, Pseudonyms::from_root(&[7; 32]).state_key()).unwrap().newest;
        let Some(standing) = newest.map(|loaded| loaded.standing) else { continue };
        let needed = [standing.journal, standing.events.1, standing.outbox];
        let goes_on = LOGS
            .into_iter()
            .map(held)
            .zip(needed)
            .all(|(held, needed)| held.end - held.start >= 4 && needed > FIRST_SEQ + 2);
        if goes_on && held(LOGS[0]).end > standing.journal {
            return disk.files();
        }
    }
    unreachable!("a run gets that far");
}

fn flip(files: &mut Files, path: &Path, at: usize) {
    files.get_mut(path).expect("it is there")[at] ^= 1;
}

/// A start that sends nothing new, up to its end.
fn start(disk: &SimulatedDisk, with: impl FnOnce(StateSpec) -> StateSpec) -> Result<Summary, String> {
    let (world, client) = in_world(3, false);
    client.acked.store(RECORDS, Ordering::SeqCst);
    let pipeline = build(&world, &client, disk, &mut SeededRng::new(3), with).map_err(|error| error.to_string())?;
    pipeline.run().map_err(|error: RunError| error.to_string())
}

fn accepting(spec: StateSpec) -> StateSpec {
    StateSpec { accept_state_loss: true, ..spec }
}

/// Folders after each kind of damage that can be given up, with what a start says of it.
fn damaged() -> Vec<(&'static str, Files)> {
    let mut files = of_a_killed_run();
    // It may have been killed while it made a checkpoint, and here it always was.
    files.entry("/state/checkpoints/checkpoint.new".into()).or_insert_with(|| b"half made".to_vec());
    let first = |folder| in_folder(&files, folder)[0].clone();
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        files
    };
    let without = |folder: &'static str| {
        move |files: &mut Files| files.retain(|path, _| !path.starts_with(Path::new("/state").join(folder)))
    };
    vec![
        ("/state/journal/", with(&|files| flip(files, &first("journal"), 70))),
        ("/state/journal/", with(&|files| flip(files, &first("journal"), 3))),
        ("/state/events/", with(&|files| flip(files, &first("events"), 70))),
        ("/state/events: records", with(&without("events"))),
        ("put together from two backups", with(&without("outbox"))),
        ("put together from two backups", with(&without("journal"))),
        ("there is a journal and no checkpoint", with(&without("checkpoints"))),
    ]
}

#[test]
fn what_is_damaged_stops_the_start_until_it_is_given_up() {
    for (said, files) in damaged() {
        let disk = SimulatedDisk::holding(files);
        let error = start(&disk, as_it_is).map(drop).expect_err(said);
        assert!(error.contains(said) && error.contains("--accept-state-loss"), "{said}: {error}");
        let given_up = start(&disk, accepting).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert!(given_up.found.unwrap().given_up, "{said}");
        assert_eq!(in_folder(&disk.files(), "audit").len(), 1, "{said}: why is kept");
        let next = start(&disk, as_it_is).unwrap_or_else(|error| panic!("{said}: {error}"));
        let found = next.found.unwrap();
        assert!(!found.given_up && found.checkpoint.is_some(), "{said}: it goes on from what began then");
    }
}

/// The flag is no reason to give up what is sound.
#[test]
fn what_is_whole_is_gone_on_with_whatever_may_be_lost() {
    let disk = SimulatedDisk::holding(of_a_killed_run());
    let found = start(&disk, accepting).unwrap().found.unwrap();
    assert!(!found.given_up && found.checkpoint.is_some());
    assert!(in_folder(&disk.files(), "audit").is_empty());
}

#[test]
fn power_may_go_at_any_call_while_it_is_given_up() {
    for (said, files) in damaged() {
        let disk = SimulatedDisk::holding(files.clone());
        let (world, client) = in_world(3, false);
        drop(build(&world, &client, &disk, &mut SeededRng::new(3), accepting).unwrap());
        let kept = in_folder(&disk.files(), "checkpoints").len();
        assert!(
            kept == 0 || said.contains("two backups"),
            "{said}: {kept} checkpoints are left that need what is gone"
        );
        // And of the first checkpoint after that.
        for call in 1..=disk.calls() + 40 {
            let disk = SimulatedDisk::holding(files.clone());
            disk.fail_at(call, Fault::PowerOff);
            let _ = start(&disk, accepting);
            assert!(disk.is_off(), "{said}: it takes more than {call} calls");
            let disk = disk.after_power_loss(Survival::Some(call));
            start(&disk, accepting).unwrap_or_else(|error| panic!("{said}, call {call}: {error}"));
        }
    }
}

#[test]
fn alerts_that_wait_are_given_up_by_hand_only() {
    let mut files = of_a_killed_run();
    let outbox = in_folder(&files, "outbox").into_iter().find(|path| path.extension().is_some()).unwrap().clone();
    flip(&mut files, &outbox, 70);
    let disk = SimulatedDisk::holding(files.clone());
    let error = start(&disk, accepting).map(drop).expect_err("alerts wait in it");
    assert!(error.contains("/state/outbox/") && error.contains("move /state/outbox away"), "{error}");
    files.retain(|path, _| !path.starts_with("/state/outbox"));
    assert!(start(&SimulatedDisk::holding(files), accepting).unwrap().found.unwrap().given_up);
}

#[test]
fn damaged_dead_letters_say_what_to_move_away() {
    let keeping = |spec| {
        let kept = DeadLettersSpec { keep_for_ms: 60_000, bytes_max: 64 << 20 };
        StateSpec { dead_letters: Some(kept), ..spec }
    };
    let disk = SimulatedDisk::holding(of_a_killed_run());
    start(&disk, keeping).unwrap();
    let mut files = disk.files();
    let log = in_folder(&files, "dead-letters")[0].clone();
    flip(&mut files, &log, 3);
    let error = start(&SimulatedDisk::holding(files.clone()), keeping).map(drop).expect_err("it is damaged");
    assert!(error.contains("move /state/dead-letters away"), "{error}");
    files.retain(|path, _| !path.starts_with("/state/dead-letters"));
    start(&SimulatedDisk::holding(files), keeping).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_all_of_them_stop_the_start() {
    let files = live(3, false, Forgets::Nothing).files;
    let checkpoints: Vec<PathBuf> = in_folder(&files, "checkpoints").into_iter().cloned().collect();
    assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
    let with_damaged = |damaged: &[PathBuf]| {
        let mut files = files.clone();
        for path in damaged {
            let half = files[path].len() / 2;
            flip(&mut files, path, half);
        }
        SimulatedDisk::holding(files)
    };
    let found = start(&with_damaged(&checkpoints[2..]), as_it_is).unwrap().found.unwrap();
    assert_eq!((found.unusable.len(), found.unusable[0].path.as_path()), (1, checkpoints[2].as_path()));
    let error = start(&with_damaged(&checkpoints), as_it_is).map(drop).expect_err("it does not start empty");
    assert!(error.contains("damaged") && error.contains("--accept-state-loss"), "{error}");
    assert!(start(&with_damaged(&checkpoints), accepting).unwrap().found.unwrap().given_up);
}

#[test]
fn another_key_is_told_from_damage() {
    for files in [live(5, false, Forgets::Nothing).files, of_a_killed_run()] {
        let under_another_key = |with: fn(StateSpec) -> StateSpec| {
            let (world, client) = in_world(5, false);
            client.acked.store(RECORDS, Ordering::SeqCst);
            let vfs: Arc<dyn Vfs> = Arc::new(SimulatedDisk::holding(files.clone()));
            let builder = Pipeline::builder(Catalog::builtin())
                .pack(world.pack.clone(), Vec::new())
                .pseudonyms(Pseudonyms::from_root(&[8; 32]))
                .source(SourceSpec::new("gates", Format::Ndjson), client);
            builder.state(with(StateSpec { vfs, ..spec_of_state() })).build().map(Pipeline::run)
        };
        let error = under_another_key(as_it_is).expect_err("it does not start").to_string();
        assert!(error.contains("the key file is another one"), "{error}");
        // What came in is sealed under the key that is gone.
        assert!(under_another_key(accepting).unwrap().unwrap().found.unwrap().given_up);
    }
}
