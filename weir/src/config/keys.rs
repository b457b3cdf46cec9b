//! Secrets and keys out of files: the root key, and those of issuers of credentials.

use std::path::{Path, PathBuf};

use weir_engine::credential::Issuers;
use weir_engine::record::RootKey;
use weir_engine::rng::OsRng;
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::codes;
use weir_rules::{Diagnostic, Diagnostics};

use super::{Config, beside};

/// Longest file of issuers' keys.
const ISSUERS_BYTES_MAX: u64 = 64 << 20;
/// A name that systemd hands over (`LoadCredential=`), not a path.
const CREDENTIAL_PREFIX: &str = "credential:";
/// Where systemd puts what it hands over.
const CREDENTIALS_FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// The path of a secret: relative to the configuration, or `credential:NAME` of systemd.
pub(super) fn path_of(config: &Path, text: &str) -> PathBuf {
    match text.strip_prefix(CREDENTIAL_PREFIX) {
        Some(name) => std::env::var_os(CREDENTIALS_FOLDER)
            .map_or_else(|| PathBuf::from(text), |folder| PathBuf::from(folder).join(name)),
        None => beside(config, text),
    }
}

/// A root key out of its file: 32 bytes.
pub(crate) fn read_key(path: &Path, vfs: &dyn Vfs) -> Result<[u8; 32], String> {
    let mut bytes = [0; 33];
    let mut file = vfs.open(path).map_err(|error| format!("key file {} cannot be read: {error}", path.display()))?;
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) => {
                return Err(format!("key file {} cannot be read: {error}", path.display()));
            }
        }
    }
    if len != 32 {
        return Err(format!("key file {} must hold exactly 32 bytes", path.display()));
    }
    Ok(bytes[..32].try_into().expect("32 bytes"))
}

/// The root key of a run: the file's, or one that lives and dies with the process. What is wrong with the file
/// [`super::load()`] says.
pub(crate) fn root_key(config: &Config, vfs: &dyn Vfs) -> RootKey {
    let read = config.key_file.as_ref().and_then(|key_file| read_key(&key_file.path, vfs).ok());
    read.map_or_else(|| RootKey::ephemeral(&mut OsRng), RootKey::new)
}

/// Keys of those who issue credentials.
pub(super) fn load_issuers(config: &Config, vfs: &dyn Vfs, diagnostics: &mut Diagnostics) -> Issuers {
    let mut issuers = Issuers::default();
    for named in &config.issuers {
        let name = named.path.display();
        let added = vfs
            .read_text(&named.path, ISSUERS_BYTES_MAX)
            .map_err(|error| format!("{name} cannot be read: {error}"))
            .and_then(|text| issuers.add(&text).map_err(|error| format!("{name}: {error}")));
        if let Err(message) = added {
            diagnostics.push(Diagnostic::new(&codes::BAD_KEYS, &config.file, named.span.clone(), message));
        }
    }
    issuers
}
