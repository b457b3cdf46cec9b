//! Who may register: devices, what they prove themselves with, and whose objects they may bring.

use std::collections::BTreeMap;

use digest_auth::AlgorithmType;
use jiff::tz::TimeZone;

use super::digest::hash;

/// Accounts of one source.
const ACCOUNTS_MAX: usize = 10_000;
/// Stands behind the beginning of ids.
const ANY: char = '*';

/// A device, or a platform that brings what several devices saw.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) device_id: String,
    pub(super) user: String,
    /// H(user:realm:password), lower-case hexadecimal.
    ha1: String,
    pub(super) algorithm: AlgorithmType,
    /// Of its times, which name none; the source's, if it has none of its own.
    pub(super) timezone: Option<TimeZone>,
    /// Ids of devices whose objects it may bring besides its own; one that ends with `*` stands for all that begin so.
    objects_of: Vec<String>,
}

impl Account {
    pub(super) fn ha1(&self) -> &str {
        &self.ha1
    }

    /// Whether it may bring what this device saw.
    pub(super) fn may_bring(&self, device_id: &str) -> bool {
        let is_meant = |of: &String| match of.strip_suffix(ANY) {
            Some(beginning) => device_id.starts_with(beginning),
            None => of == device_id,
        };
        device_id == self.device_id || self.objects_of.iter().any(is_meant)
    }
}

/// The accounts of a source, by device.
#[derive(Debug, Clone, Default)]
pub struct ViidAccounts(BTreeMap<String, Account>);

/// A line of a file of accounts that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ViidAccountsError {
    /// Line, from 1.
    pub line: u64,
    /// What is wrong and what helps.
    pub message: String,
}

impl ViidAccounts {
    /// Reads a CSV with the columns `device_id`, `user`, `ha1`, and as needed `timezone` and `objects_of`. `ha1` is
    /// MD5 or SHA-256 of `user:realm:password` in hexadecimal (RFC 7616, 3.4.2); no password stands in the file.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str, realm: &str) -> Result<Self, ViidAccountsError> {
        let fault = |line: u64, message: String| ViidAccountsError { line, message };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| fault(1, error.to_string()))?.clone();
        let known = ["device_id", "user", "ha1", "timezone", "objects_of"];
        if let Some(name) = header.iter().find(|name| !known.contains(name)) {
            return Err(fault(1, format!("there is no column `{name}`; columns: {}", known.join(", "))));
        }
        if let Some(name) = known[..3].iter().find(|name| !header.iter().any(|it| it == **name)) {
            return Err(fault(1, format!("the column `{name}` is missing")));
        }
        let mut accounts = BTreeMap::new();
        for row in reader.records() {
            let row = row.map_err(|error| fault(error.position().map_or(0, csv::Position::line), error.to_string()))?;
            let line = row.position().map_or(0, csv::Position::line);
            let cell = |name| {
                let at = header.iter().position(|it| it == name);
                at.and_then(|at| row.get(at)).filter(|text| !text.is_empty())
            };
            let account = account(cell, realm).map_err(|message| fault(line, message))?;
            if accounts.len() == ACCOUNTS_MAX {
                return Err(fault(line, format!("a source has at most {ACCOUNTS_MAX} accounts")));
            }
            let device_id = account.device_id.clone();
            if accounts.insert(device_id.clone(), account).is_some() {
                return Err(fault(line, format!("device {device_id} has an account already")));
            }
        }
        if accounts.is_empty() { Err(fault(1, "there is no account".to_owned())) } else { Ok(Self(accounts)) }
    }

    pub(super) fn of(&self, device_id: &str) -> Option<&Account> {
        self.0.get(device_id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn account<'a>(cell: impl Fn(&'static str) -> Option<&'a str>, realm: &str) -> Result<Account, String> {
    let need = |name| cell(name).ok_or_else(|| format!("`{name}` is missing"));
    let device_id = need("device_id")?.to_owned();
    if device_id.len() != 20 || !device_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a device id has 20 digits (GA/T 1400.1, annex B): `{device_id}` does not"));
    }
    let user = need("user")?.to_owned();
    let ha1 = need("ha1")?.to_ascii_lowercase();
    let algorithm = match ha1.len() {
        32 => AlgorithmType::MD5,
        64 => AlgorithmType::SHA2_256,
        _ => {
            return Err("`ha1` has 32 hexadecimal digits (MD5) or 64 (SHA-256); make it with: \
                        printf '%s' 'USER:REALM:PASSWORD' | md5sum"
                .to_owned());
        }
    };
    if !ha1.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("`ha1` is no hexadecimal number".to_owned());
    }
    if ha1 == hash(algorithm, &format!("{user}:{realm}:")) {
        return Err(format!("the password of `{user}` is empty; give the device one"));
    }
    let timezone =
        cell("timezone").map(|name| TimeZone::get(name).map_err(|_| format!("there is no timezone `{name}`")));
    let objects_of = cell("objects_of").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    Ok(Account { device_id, user, ha1, algorithm, timezone: timezone.transpose()?, objects_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "61010000001190000001";

    fn refused(text: &str) -> String {
        ViidAccounts::parse(text, "viid").unwrap_err().to_string()
    }

    #[test]
    fn accounts_are_read_and_each_mistake_has_its_line() {
        let ha1 = hash(AlgorithmType::MD5, "gate:viid:secret");
        let text = format!(
            "device_id, user, ha1, timezone, objects_of\n{ID}, gate, {ha1}, Asia/Urumqi, 6101* 61020000001190000009\n"
        );
        let accounts = ViidAccounts::parse(&text, "viid").unwrap();
        let account = accounts.of(ID).unwrap();
        assert_eq!((account.user.as_str(), account.algorithm), ("gate", AlgorithmType::MD5));
        assert!(account.may_bring(ID) && account.may_bring("61010000001190000077"));
        assert!(account.may_bring("61020000001190000009") && !account.may_bring("61020000001190000008"));

        let head = "device_id,user,ha1\n";
        assert_eq!(refused("device_id,user\n"), "line 1: the column `ha1` is missing");
        assert!(refused("device_id,user,ha1,password\n").contains("no column `password`"));
        assert_eq!(refused(head), "line 1: there is no account");
        assert!(refused(&format!("{head}{ID},gate,{ha1}\n123,gate,{ha1}\n")).starts_with("line 3: a device id"));
        assert!(refused(&format!("{head}{ID},gate,{ha1}\n{ID},gate,{ha1}\n")).starts_with("line 3: device"));
        assert!(refused(&format!("{head}{ID},gate,secret\n")).contains("md5sum"));
        for algorithm in [AlgorithmType::MD5, AlgorithmType::SHA2_256] {
            let of_nothing = hash(algorithm, "gate:viid:");
            assert!(refused(&format!("{head}{ID},gate,{of_nothing}\n")).contains("empty"));
        }
    }
}
