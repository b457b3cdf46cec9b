//! Syslog: how a collector is reached, over TCP (RFC 6587) or TLS (RFC 5425).

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::Finding;

/// Time for a connection to be made, and for what is written to be taken.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A collector.
#[derive(Debug, Clone)]
pub struct SyslogServer {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is trusted; `None` for a connection in the clear.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A connection that is written to only.
pub(crate) enum SyslogStream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl SyslogServer {
    /// As it is named in messages.
    pub(crate) fn place(&self) -> String {
        format!("syslog {}:{}", self.host, self.port)
    }

    pub(crate) fn connect(&self) -> io::Result<SyslogStream> {
        let stream = self.connect_tcp()?;
        let Some(tls) = &self.tls else { return Ok(SyslogStream::Clear(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        // Who is there is settled before anything is written.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(SyslogStream::Tls(Box::new(stream)))
    }

    fn connect_tcp(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::other(format!("{} has no address", self.host));
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Tries to connect; nothing is written.
    pub fn probe(&self) -> Finding {
        match self.connect() {
            Ok(_) if self.tls.is_some() => Ok(format!("{} is there, and is who it says", self.place())),
            Ok(_) => Ok(format!("{} is there", self.place())),
            Err(error) => Err(format!("{}: {error}", self.place())),
        }
    }
}

impl SyslogStream {
    /// Writes and flushes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Whether the collector has not ended the connection. It has nothing to say to us but that, and what belongs to TLS.
    pub(crate) fn is_open(&mut self) -> bool {
        let socket = match self {
            Self::Clear(stream) => &*stream,
            Self::Tls(stream) => &stream.sock,
        };
        if socket.set_nonblocking(true).is_err() {
            return false;
        }
        let mut some = [0; 512];
        let read = match self {
            Self::Clear(stream) => stream.read(&mut some),
            Self::Tls(stream) => stream.read(&mut some),
        };
        let socket = match self {
            Self::Clear(stream) => &*stream,
            Self::Tls(stream) => &stream.sock,
        };
        let is_open = match read {
            Ok(len) => len > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        socket.set_nonblocking(false).is_ok() && is_open
    }
}
