//! weir-connectors: sources and sinks, one module per protocol.
//!
//! A source turns what a protocol brings into blocks of whole records and hands them to its
//! [`Feed`](weir_engine::Feed); a sink hands outputs over and decides when to try again. Neither
//! knows rules. A list may come out of a database ([`list`]). What all need to reach a broker or a database is in [`client`]. Everything that listens
//! binds to loopback only: this version has no TLS and no authentication there.
#![forbid(unsafe_code)]

pub mod client;
pub mod list;
pub mod sink;
pub mod source;

use std::net::SocketAddr;

/// Resolves a bind address and refuses what is not loopback.
///
/// # Errors
/// A sentence for the operator.
pub fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .replace("localhost:", "127.0.0.1:")
        .parse()
        .map_err(|_| format!("`{text}` is not an address; write it as 127.0.0.1:7000"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "`{text}` is not loopback; without TLS and authentication weir listens on 127.0.0.1 or [::1] only, behind a reverse proxy"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::loopback_address;

    #[test]
    fn only_loopback_is_bound() {
        assert!(loopback_address("127.0.0.1:0").is_ok());
        assert!(loopback_address("localhost:80").is_ok());
        assert!(loopback_address("[::1]:80").is_ok());
        for text in ["0.0.0.0:80", "[::]:80", "192.168.1.1:80", "nonsense", "127.0.0.1"] {
            assert!(loopback_address(text).is_err(), "{text}");
        }
    }
}
