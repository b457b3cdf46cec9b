//! What a state folder says in words that another program, or a later version of this one, can read: how far its sources
//! have been read, how far time has come, and how much it holds.
//!
//! What it holds of people, vehicles and things is counted and not told: the digests by which windows, sequences and
//! repeats know them have no business outside of the folder, where they are forgotten in time. So an export is no copy of
//! the state; a pipeline that begins at one counts its windows anew, and reads nothing twice that its checkpoint has.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pipeline::BuildError;
use super::plan::Plan;
use super::state::{SavedState, StateError};
use crate::alert::format_time;
use crate::source::{FileId, Position};
use crate::state::checkpoint::{self, ReadSection, Unsealed};
use crate::vfs::Vfs;

/// Version of what is written.
const VERSION: u32 = 1;

/// No state can be exported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each means")]
pub enum ExportError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: there is no checkpoint in it; is it the `state.dir` of a configuration that has run?", folder.display())]
    NoCheckpoint { folder: PathBuf },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: {error}; export it with the version that wrote it", path.display())]
    Unreadable { path: PathBuf, error: StateError },
}

/// What a checkpoint says that is about nobody. It is read and written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    #[serde(rename = "weir_state_export")]
    version: u32,
    /// The checkpoint it was made of.
    pub checkpoint: u64,
    /// When that was made, by the wall clock (RFC 3339).
    pub at: String,
    /// Its sources, and how far each of their files or streams has been read.
    pub sources: Vec<ExportedSource>,
    /// Its kinds of record, and how far time has come in each.
    pub kinds: Vec<ExportedKind>,
    /// Its rules.
    pub rules: Vec<ExportedRule>,
    /// Devices that are followed because windows wait for them.
    pub devices: usize,
    /// Alerts that may have to be taken back.
    pub alerts_told: usize,
    /// Keys whose repeats are held back.
    pub repeats: usize,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedSource {
    /// Its name.
    pub name: String,
    /// Files, and streams of brokers.
    pub places: Vec<ExportedPlace>,
}

/// How far a file, or the stream of a broker, has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedPlace {
    /// How it is known again.
    file: FileId,
    /// Bytes of the file, or of what it holds compressed; of a stream, the number of the last message.
    pub to: u64,
    /// Records up to there.
    pub records: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    header: Option<Vec<String>>,
    plain: bool,
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedKind {
    /// Its name.
    pub name: String,
    /// Its watermark before lateness (RFC 3339); `None` if no record has come.
    pub complete_to: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedRule {
    /// Its id.
    pub id: String,
    /// Digest of its meaning.
    pub version: String,
    /// Keys (zones, ways that have begun, what is waited for) that it keeps something of.
    pub keys: usize,
}

/// Exports the newest checkpoint of a state folder that is whole. Changes nothing, and needs no key; a process may be using the
/// folder.
///
/// # Errors
/// When there is none, or this version cannot read it.
pub fn export(vfs: &dyn Vfs, folder: &Path) -> Result<Export, ExportError> {
    let fault = |error| ExportError::Io { path: folder.to_owned(), error };
    let mut damaged = None;
    for checkpoint in checkpoint::newest_first(vfs, folder).map_err(fault)? {
        let Unsealed { epoch, path, read } = checkpoint.map_err(fault)?;
        match read {
            Ok((at_ms, sections)) => {
                return of_sections(epoch, at_ms, &sections).map_err(|error| ExportError::Unreadable { path, error });
            }
            Err(what) => damaged = damaged.or(Some(ExportError::Damaged { path, what })),
        }
    }
    Err(damaged.unwrap_or_else(|| ExportError::NoCheckpoint { folder: folder.to_owned() }))
}

fn of_sections(epoch: u64, at_ms: i64, sections: &[ReadSection]) -> Result<Export, StateError> {
    let saved = SavedState::from_sections(sections)?;
    let time = |ms: Option<i64>| ms.map(format_time);
    let mut sources: Vec<ExportedSource> = Vec::new();
    for name in saved.written.sources {
        sources.push(ExportedSource { name, places: Vec::new() });
    }
    for Position { source, file, to, records, header, is_plain } in saved.files {
        let source = sources.get_mut(usize::from(source)).ok_or(StateError::Damaged)?;
        source.places.push(ExportedPlace { file, to, records, header, plain: is_plain });
    }
    let watermarks = saved.devices.watermarks();
    let kinds = saved.written.kinds.into_iter().zip(watermarks);
    let rule = |(at, (id, version)): (usize, (String, String))| {
        let in_steps = saved.steps.get(at).map_or(0, super::steps::SavedSteps::keys);
        ExportedRule { id, version, keys: saved.windows.keys(at) + in_steps }
    };
    Ok(Export {
        version: VERSION,
        checkpoint: epoch,
        at: format_time(at_ms),
        sources,
        kinds: kinds.map(|(name, ms)| ExportedKind { name, complete_to: time(ms) }).collect(),
        rules: saved.written.rules.into_iter().enumerate().map(rule).collect(),
        devices: saved.devices.len(),
        alerts_told: saved.told.alerts(),
        repeats: saved.suppression.keys(),
    })
}

impl Export {
    /// Reads what [`export`] gave, as JSON.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let export: Self =
            serde_json::from_str(text).map_err(|error| format!("it is no export of a state: {error}"))?;
        match export.version {
            VERSION => Ok(export),
            other => Err(format!("it is an export of version {other}, and this program reads version {VERSION}")),
        }
    }

    /// The same places under a plan, where sources are known by their number.
    pub(super) fn positions(self, plan: &Plan) -> Result<Vec<Position>, BuildError> {
        let mut positions = Vec::new();
        for ExportedSource { name, places } in self.sources {
            if places.is_empty() {
                continue;
            }
            let Some(source) = plan.sources.iter().position(|source| *source.name == name) else {
                return Err(BuildError::PlacesOfNoSource { name });
            };
            positions.extend(places.into_iter().map(|ExportedPlace { file, to, records, header, plain }| Position {
                source: source as u16,
                file,
                to,
                records,
                header,
                is_plain: plain,
            }));
        }
        Ok(positions)
    }
}
