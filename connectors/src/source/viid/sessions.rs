//! Who is registered, and from where.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Devices that have registered. After that they only name themselves (`User-Identify`), so the name counts from the
/// address it was proved from, and for as long as the device keeps being heard.
pub(super) struct Sessions {
    offline_after_ms: i64,
    /// No more than there are accounts.
    open: Mutex<HashMap<String, Session>>,
}

struct Session {
    from: IpAddr,
    heard_ms: i64,
}

impl Sessions {
    pub(super) fn new(offline_after_ms: i64) -> Self {
        Self { offline_after_ms, open: Mutex::default() }
    }

    /// A device has proved who it is.
    pub(super) fn open(&self, device_id: &str, from: IpAddr, now_ms: i64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(device_id.to_owned(), Session { from, heard_ms: now_ms });
    }

    /// Whether somebody there may use this name; it has been heard then.
    pub(super) fn hears(&self, device_id: &str, from: IpAddr, now_ms: i64) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = open.get_mut(device_id) else { return false };
        if now_ms - session.heard_ms > self.offline_after_ms {
            open.remove(device_id);
            return false;
        }
        let is_its_own = session.from == from;
        if is_its_own {
            session.heard_ms = session.heard_ms.max(now_ms);
        }
        is_its_own
    }

    /// A device has gone.
    pub(super) fn close(&self, device_id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(device_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_where_it_was_proved_and_while_it_is_heard() {
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let sessions = Sessions::new(100);
        assert!(!sessions.hears("a", here, 0));
        sessions.open("a", here, 0);
        assert!(sessions.hears("a", here, 100) && sessions.hears("a", here, 200));
        assert!(!sessions.hears("a", there, 210) && !sessions.hears("b", here, 210));
        assert!(!sessions.hears("a", here, 301), "what others say does not keep it open");
        assert!(!sessions.hears("a", here, 200), "and it stays closed");
        sessions.open("a", there, 400);
        assert!(!sessions.hears("a", here, 400) && sessions.hears("a", there, 400));
        sessions.close("a");
        assert!(!sessions.hears("a", there, 400));
    }
}
