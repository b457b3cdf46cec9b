//! A device of GA/T 1400 as seen from its server: registers with HTTP Digest, names itself from then on, keeps what it
//! could not send, and sends all of it when it is back.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use digest_auth::{AuthContext, WwwAuthenticateHeader};
use md5::Digest as _;
use serde_json::{Value, json};

/// No answer within this time is a failure, as real devices have it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Passages sent at once.
const BATCH: usize = 100;
/// Passages it keeps; beyond, the oldest are gone.
const BACKLOG_MAX: usize = 100_000;
/// Longest answer it reads.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What stands in the accounts of the server: MD5 of `user:realm:password` (RFC 7616, 3.4.2).
pub fn ha1(user: &str, realm: &str, password: &str) -> String {
    let hash = md5::Md5::digest(format!("{user}:{realm}:{password}"));
    hash.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What to answer to be let in.
    pub challenge: Option<String>,
    /// JSON, or null.
    pub body: Value,
}

/// A device.
pub struct Device {
    server: SocketAddr,
    id: String,
    user: String,
    password: String,
    connection: Option<BufReader<TcpStream>>,
    registered: bool,
    backlog: VecDeque<Value>,
}

impl Device {
    /// One that has not registered yet.
    pub fn new(server: SocketAddr, id: &str, user: &str, password: &str) -> Self {
        let (id, user, password) = (id.to_owned(), user.to_owned(), password.to_owned());
        Self { server, id, user, password, connection: None, registered: false, backlog: VecDeque::new() }
    }

    /// Passages that wait.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// The cable is pulled.
    pub fn lose_connection(&mut self) {
        self.connection = None;
    }

    /// A vehicle passes.
    pub fn pass(&mut self, vehicle: Value) {
        if self.backlog.len() == BACKLOG_MAX {
            self.backlog.pop_front();
        }
        self.backlog.push_back(vehicle);
    }

    /// Registers: asks, is asked for its password, and answers.
    ///
    /// # Errors
    /// When there is no answer, or it is not let in.
    pub fn register(&mut self) -> io::Result<()> {
        const PATH: &str = "/VIID/System/Register";
        let body = json!({ "RegisterObject": { "DeviceID": self.id } });
        let asked = self.request("POST", PATH, &[], &body)?;
        let challenge =
            asked.challenge.ok_or_else(|| io::Error::other(format!("no challenge, but {}", asked.status)))?;
        let mut challenge = WwwAuthenticateHeader::parse(&challenge).map_err(io::Error::other)?;
        let context = AuthContext::new_post::<_, _, _, &[u8]>(&self.user, &self.password, PATH, None);
        let said = challenge.respond(&context).map_err(io::Error::other)?.to_string();
        let answer = self.request("POST", PATH, &[("Authorization", &said)], &body)?;
        self.registered = answer.status == 200;
        if self.registered { Ok(()) } else { Err(io::Error::other(format!("not let in: {}", answer.body))) }
    }

    /// Says that it is there.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn keep_alive(&mut self) -> io::Result<Answer> {
        let body = json!({ "KeepaliveObject": { "DeviceID": self.id } });
        self.post("/VIID/System/Keepalive", &body)
    }

    /// Sends what waits. Registers first if it has to, and keeps what was not answered.
    ///
    /// # Errors
    /// When there is no answer, or the server has no room; what waits is sent again the next time.
    pub fn deliver(&mut self) -> io::Result<Vec<Value>> {
        let mut statuses = Vec::new();
        while !self.backlog.is_empty() {
            if !self.registered {
                self.register()?;
            }
            let batch: Vec<&Value> = self.backlog.iter().take(BATCH).collect();
            let sent = batch.len();
            let body = json!({ "MotorVehicleListObject": { "MotorVehicleObject": batch } });
            let answer = self.post("/VIID/MotorVehicles", &body)?;
            match answer.status {
                200 => {
                    let of_each = &answer.body["ResponseStatusListObject"]["ResponseStatusObject"];
                    statuses.extend(of_each.as_array().into_iter().flatten().cloned());
                    self.backlog.drain(..sent);
                }
                // The server has forgotten it.
                401 if self.registered => self.registered = false,
                _ => return Err(io::Error::other(format!("{}: {}", answer.status, answer.body))),
            }
        }
        Ok(statuses)
    }

    /// Posts a body under its name.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        let id = self.id.clone();
        self.request("POST", path, &[("User-Identify", &id)], body)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> io::Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: viid\r\nContent-Type: application/VIID+JSON\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        let asked = self.ask(&(head + &body));
        if asked.is_err() {
            self.connection = None;
        }
        asked
    }

    fn ask(&mut self, request: &str) -> io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = TcpStream::connect_timeout(&self.server, ANSWER_WITHIN)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                none.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        let mut read = |line: &mut String| {
            line.clear();
            match connection.read_line(line)? {
                0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                _ => Ok(()),
            }
        };
        read(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("this is no answer"))?;
        let (mut len, mut challenge) = (0, None);
        loop {
            read(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.parse().map_err(io::Error::other)?,
                "www-authenticate" => challenge = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = Vec::new();
        connection.by_ref().take(len.min(ANSWER_BYTES_MAX)).read_to_end(&mut body)?;
        Ok(Answer { status, challenge, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

/// A passage as such devices write it: oddly, and legally. `number` makes it another one.
pub fn passage(device: &str, number: u64, local_time: &str, plate: &str) -> Value {
    let mut vehicle = json!({
        "MotorVehicleID": format!("{device}02{local_time}{:05}02{:05}", number % 100_000, number % 100_000),
        "InfoKind": 1, "DeviceID": device, "TollgateID": "61010000001210000051", "PassTime": local_time,
        "PlateNo": plate, "PlateColor": "5", "HasPlate": "1", "VehicleClass": "K33", "SafetyBelt": "1",
        "SubImageList": { "SubImageInfoObject": [{ "ImageID": "1", "Data": "/9j/4AAQSkZJRg==" }] },
        "StorageUrl1": "http://192.0.2.9/i/1.jpg",
    });
    match number % 4 {
        0 => (vehicle["LaneNo"], vehicle["Speed"]) = (json!(1), json!("42.5")),
        1 => (vehicle["LaneNo"], vehicle["Speed"], vehicle["HasPlate"]) = (json!("2"), json!(""), json!(true)),
        2 => (vehicle["Speed"], vehicle["PlateColor"], vehicle["Direction"]) = (json!(42), json!(5), json!(null)),
        _ => (vehicle["PlateReliability"], vehicle["Speed"]) = (json!("96"), json!(null)),
    }
    vehicle
}
