//! Records of cameras and platforms that speak GA/T 1400 (VIID): vehicles, and nothing about people.
//!
//! A device registers with HTTP Digest, says every minute or so that it is there, and posts what passed. After it has
//! registered it only names itself, so its name counts from the address at which it was proved, until it has been silent
//! for too long; a device that signs every request (`Authorization`) is taken at its word from anywhere. Every object has a
//! status of its own, 0 once it is judged (and durable, where a state folder is kept). Whatever tells of people is
//! answered with 403, its body neither parsed nor logged.

mod accounts;
mod answer;
mod bodies;
mod digest;
mod objects;
mod sessions;
mod subscription;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header, request};
use axum::response::Response;
use bytes::Bytes;
use digest_auth::AlgorithmType;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use weir_engine::source::{Format, Outcome, Payload, RejectedRecords};
use weir_engine::{Feed, Source, SourceError};

pub use accounts::{ViidAccounts, ViidAccountsError};
pub use subscription::ViidSubscription;

use self::accounts::Account;
use self::answer::{Code, Status, Statuses};
use self::bodies::{Subscribe, Subscribes, System, Tollgate, Tollgates};
use self::digest::{Challenges, Denied};
use self::objects::{Element, MotorVehicles, Notifications, Refused, Vehicle};
use self::sessions::Sessions;
use self::subscription::Troubles;
use super::web::{self, BodyFault, HttpLimits, PeerRates, compression, discard, plain, read_body};
use super::{OnBound, local_time};

/// Wrong passwords of one address: so many at once, and as many a minute.
const FAILURES_A_MINUTE: f64 = 10.0;
/// First parts of paths that are about people, or show them: refused unread.
const ABOUT_PEOPLE: [&str; 8] =
    ["Persons", "Faces", "NonMotorVehicles", "Images", "VideoSlices", "Files", "Cases", "Dispositions"];

const NOT_ABOUT_PEOPLE: &str = "nothing about people is taken here";

const ONLY_HITS: &str = "passages are handed on to nobody: what is on no list leaves no trace here; hits are told by DispositionNotifications";

const NO_ROOM: &str = "the pipeline is busy; nothing was taken";

const NOBODY: &str = "00000000000000000000";
const ANYBODY: &str = "device_id,user,ha1,objects_of\n00000000000000000000,u,00000000000000000000000000000000,*\n";

/// The lines in a body of `/VIID/MotorVehicles`, as the source takes them from a device that may bring everything; `None` if
/// it is refused as a whole.
pub fn viid_lines_of(body: &[u8]) -> Option<Vec<u8>> {
    let account = ViidAccounts::parse(ANYBODY, "viid").ok()?.of(NOBODY)?.clone();
    let mut lines = Vec::new();
    let notified = parse::<Notifications>(body).ok().map(Notifications::into_objects).unwrap_or_default();
    let notified = notified.into_iter().filter_map(|element| match element {
        Element::Object(notification) if !notification.is_about_people() => Some(notification.into_vehicles()),
        _ => None,
    });
    for element in parse::<MotorVehicles>(body).ok()?.into_objects().into_iter().chain(notified.flatten()) {
        if let Element::Object(vehicle) = element {
            let _ = vehicle.write(&account, &TimeZone::UTC, &mut lines);
        }
    }
    Some(lines)
}

/// Listens for devices that speak GA/T 1400.
pub struct ViidSource {
    /// Where to listen; loopback.
    pub address: SocketAddr,
    /// Realm of HTTP Digest.
    pub realm: String,
    /// Twenty digits that this server is known by.
    pub server_id: String,
    /// IANA name of the zone of times that name none.
    pub timezone: String,
    /// Who may register.
    pub accounts: ViidAccounts,
    /// What is asked of platforms.
    pub subscriptions: Vec<ViidSubscription>,
    /// A device that is not heard for so long has to register again, ms.
    pub offline_after_ms: i64,
    /// Header in which a proxy in front of weir says who asks.
    pub peer_header: Option<String>,
    /// Random bytes of this run, for nonces.
    pub nonce_key: [u8; 32],
    /// Bounds.
    pub limits: HttpLimits,
    /// Called with the address it got.
    pub on_bound: Option<OnBound>,
    /// Where its connections run.
    pub runtime: Handle,
}

struct Shared {
    feed: Feed,
    server_id: String,
    timezone: String,
    zone: TimeZone,
    accounts: ViidAccounts,
    challenges: Challenges,
    sessions: Sessions,
    peer_header: Option<HeaderName>,
    limits: HttpLimits,
    rates: PeerRates,
    failures: PeerRates,
}

impl Source for ViidSource {
    fn run(self: Box<Self>, feed: Feed) -> Result<(), SourceError> {
        let place = format!("viid {}", self.address);
        let fault = |message: String| SourceError::new(place.clone(), message);
        let zone = TimeZone::get(&self.timezone).map_err(|error| fault(error.to_string()))?;
        let peer_header = self.peer_header.as_deref().map(str::parse).transpose();
        let per_second = f64::from(self.limits.requests_per_second_max);
        let shared = Arc::new(Shared {
            feed: feed.clone(),
            server_id: self.server_id.clone(),
            timezone: self.timezone.clone(),
            zone: zone.clone(),
            accounts: self.accounts.clone(),
            challenges: Challenges::new(self.realm.clone(), self.nonce_key),
            sessions: Sessions::new(self.offline_after_ms),
            peer_header: peer_header.map_err(|_| fault("`peer_header` is no name of a header".to_owned()))?,
            limits: self.limits.clone(),
            rates: PeerRates::new(per_second, per_second),
            failures: PeerRates::new(FAILURES_A_MINUTE / 60.0, FAILURES_A_MINUTE),
        });
        let router = |peer: SocketAddr| Router::new().fallback(answer).with_state((Arc::clone(&shared), peer.ip()));
        let serving = web::serve(self.address, self.on_bound.as_ref(), &self.limits, &feed, router);
        let troubles = Troubles::default();
        let subscriptions = self.subscriptions.iter().enumerate();
        let asking = subscriptions.map(|(number, it)| it.keep(number, &feed, &zone, &troubles));
        // Whoever is asked posts to this server, so that it listens while they are asked.
        let (served, _) =
            self.runtime.block_on(async { tokio::join!(serving, futures_util::future::join_all(asking)) });
        served.map_err(|error| fault(error.to_string()))
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Register,
    UnRegister,
    Keepalive,
    Time,
    MotorVehicles,
    Tollgates,
    Notifications,
    Subscribes,
    AboutPeople,
    Unknown,
}

impl Route {
    /// Everything that is answered, by path; what is not here is not answered.
    fn of(path: &str) -> (Self, Method) {
        let Some(rest) = path.strip_prefix("/VIID/") else { return (Self::Unknown, Method::GET) };
        match rest {
            "System/Register" => (Self::Register, Method::POST),
            "System/UnRegister" => (Self::UnRegister, Method::POST),
            "System/Keepalive" => (Self::Keepalive, Method::POST),
            "System/Time" => (Self::Time, Method::GET),
            "MotorVehicles" => (Self::MotorVehicles, Method::POST),
            "Tollgates" => (Self::Tollgates, Method::POST),
            "SubscribeNotifications" => (Self::Notifications, Method::POST),
            "Subscribes" => (Self::Subscribes, Method::POST),
            _ => {
                let first = rest.split('/').next().unwrap_or_default();
                let is_about_people = ABOUT_PEOPLE.iter().any(|it| it.eq_ignore_ascii_case(first));
                (if is_about_people { Self::AboutPeople } else { Self::Unknown }, Method::GET)
            }
        }
    }
}

/// Why a request as a whole was not taken.
struct Refusal {
    http: StatusCode,
    code: Code,
    why: String,
    challenge: Option<String>,
}

/// Who asks, and for what.
struct Asked {
    shared: Arc<Shared>,
    parts: request::Parts,
    statuses: Statuses,
    from: IpAddr,
    now_ms: i64,
}

async fn answer(State((shared, peer)): State<(Arc<Shared>, IpAddr)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let now_ms = shared.feed.clock().wall_ms();
    let local_time = local_time::of(now_ms, &shared.zone);
    let path = parts.uri.path().to_owned();
    let (route, method) = Route::of(&path);
    let asked =
        Asked { from: shared.client_of(&parts, peer), statuses: Statuses { path, local_time }, shared, parts, now_ms };
    let mut body = Some(body);
    let answered = match route {
        Route::AboutPeople => Err(Refusal::forbidden(NOT_ABOUT_PEOPLE)),
        Route::Unknown => Err(Refusal::new(StatusCode::NOT_FOUND, Code::InvalidOperation, "there is nothing here")),
        _ if asked.parts.method != method => {
            let why = format!("{method} is taken here");
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidOperation, why))
        }
        _ if !asked.shared.rates.take(asked.from) => {
            Err(Refusal::busy(StatusCode::TOO_MANY_REQUESTS, "too many requests"))
        }
        _ => asked.take(route, &mut body).await,
    };
    // Devices send all of it before they look for an answer, and do not see one if the connection is reset before.
    if let Some(unread) = body {
        discard(unread, &asked.shared.limits).await;
    }
    answered.unwrap_or_else(|refusal| asked.refusal(refusal))
}

impl Shared {
    /// Who asks: whoever is at the other end, or whom a proxy names.
    fn client_of(&self, parts: &request::Parts, peer: IpAddr) -> IpAddr {
        let named = self.peer_header.as_ref().and_then(|name| parts.headers.get(name));
        named.and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(peer)
    }
}

impl Asked {
    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
    }

    /// An answer about the whole request. An error is an answer too: what is asked for ends there.
    async fn take(&self, route: Route, body: &mut Option<Body>) -> Result<Response, Refusal> {
        if route == Route::Time {
            return Ok(self.time());
        }
        let named = self.header("user-identify");
        // Who has named himself is known before anything of the body is read.
        let account = match named {
            Some(device_id) if route != Route::Register => Some(self.admit(device_id, route)?),
            _ => None,
        };
        // Who brings vehicles is turned away before a byte of them is read.
        if matches!(route, Route::MotorVehicles | Route::Notifications) && !self.shared.feed.has_room() {
            self.shared.feed.count_refused(1);
            return Err(Refusal::busy(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM));
        }
        let bytes = self.body(body).await?;
        match route {
            Route::Register | Route::UnRegister | Route::Keepalive => {
                let system: System = parse(&bytes)?;
                let device_id = system.device_id().or(named).ok_or_else(|| Refusal::content("DeviceID is missing"))?;
                if named.is_some_and(|named| named != device_id) {
                    return Err(Refusal::forbidden("User-Identify names another device than the body"));
                }
                if account.is_none() {
                    self.admit(device_id, route)?;
                }
                match route {
                    Route::Register => self.shared.sessions.open(device_id, self.from, self.now_ms),
                    Route::UnRegister => self.shared.sessions.close(device_id),
                    _ => self.shared.feed.alive(vec![Arc::from(device_id)]),
                }
                Ok(answer::one(StatusCode::OK, &self.statuses.of(device_id, Code::Ok, "OK")))
            }
            _ => {
                let account = account.ok_or_else(|| self.ask(AlgorithmType::MD5, false, "User-Identify is missing"))?;
                match route {
                    Route::Tollgates => {
                        let tollgates: Tollgates = parse(&bytes)?;
                        Ok(answer::list(StatusCode::OK, &self.tollgates(tollgates)))
                    }
                    Route::Subscribes => {
                        let subscribes: Subscribes = parse(&bytes)?;
                        Ok(answer::list(StatusCode::OK, &self.subscribes(subscribes)))
                    }
                    Route::Notifications => self.notifications(account, parse(&bytes)?).await,
                    _ => self.vehicles(account, parse(&bytes)?).await,
                }
            }
        }
    }

    /// The account of whoever asks, if he has proved that it is his.
    fn admit(&self, device_id: &str, route: Route) -> Result<&Account, Refusal> {
        let account = self.shared.accounts.of(device_id);
        let algorithm = account.map_or(AlgorithmType::MD5, |account| account.algorithm);
        let Some(authorization) = self.header(header::AUTHORIZATION) else {
            let may = |account: &&Account| {
                route != Route::Register && self.shared.sessions.hears(&account.device_id, self.from, self.now_ms)
            };
            return account.filter(may).ok_or_else(|| self.ask(algorithm, false, "register first"));
        };
        if !self.shared.failures.has(self.from) {
            return Err(Refusal::busy(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords; wait"));
        }
        let request = (self.parts.method.as_str(), self.parts.uri.path());
        let verified = account.ok_or(Denied::Wrong).and_then(|account| {
            self.shared.challenges.verify(authorization, request, account, self.now_ms).map(|()| account)
        });
        verified.map_err(|denied| match denied {
            Denied::Stale => self.ask(algorithm, true, "the nonce is too old"),
            Denied::Replayed => self.ask(algorithm, true, "this answer has been given before"),
            Denied::Unreadable => self.ask(algorithm, false, "Authorization does not answer the challenge"),
            Denied::Wrong => {
                self.shared.failures.take(self.from);
                self.ask(algorithm, false, "this is not its password")
            }
        })
    }

    async fn body(&self, body: &mut Option<Body>) -> Result<Bytes, Refusal> {
        if self.shared.feed.stopping() {
            return Err(Refusal::busy(StatusCode::SERVICE_UNAVAILABLE, "this server is stopping"));
        }
        let limits = &self.shared.limits;
        let compression = compression(self.header(header::CONTENT_ENCODING))?;
        let body = body.take().expect("it is read once");
        let bytes = read_body(body, limits).await?;
        Ok(plain(bytes, compression, limits.body_bytes_max)?)
    }

    async fn vehicles(&self, account: &Account, body: MotorVehicles) -> Result<Response, Refusal> {
        let objects = body.into_objects();
        if objects.is_empty() {
            return Err(Refusal::content("there is no MotorVehicleObject"));
        }
        let statuses = self.judge(account, objects).await?;
        Ok(answer::list(StatusCode::OK, &statuses))
    }

    async fn notifications(&self, account: &Account, body: Notifications) -> Result<Response, Refusal> {
        let mut statuses = Vec::new();
        for element in body.into_objects() {
            let Element::Object(notification) = element else {
                statuses.push(self.statuses.of("", Code::JsonContent, "this is no object"));
                continue;
            };
            let id = notification.id.text().unwrap_or_default().to_owned();
            let about_people = notification.is_about_people();
            let vehicles = notification.into_vehicles();
            if about_people {
                statuses.push(self.statuses.of(&id, Code::InvalidOperation, NOT_ABOUT_PEOPLE));
                continue;
            }
            let judged = self.judge(account, vehicles).await?;
            let first_fault = judged.into_iter().find(|status| !status.is_ok());
            statuses.push(first_fault.map_or_else(|| self.statuses.of(&id, Code::Ok, "OK"), |it| it.about(&id)));
        }
        Ok(answer::list(StatusCode::OK, &statuses))
    }

    /// Has objects judged; a status for each.
    async fn judge(&self, account: &Account, objects: Vec<Element<Vehicle>>) -> Result<Vec<Status>, Refusal> {
        let zone = account.timezone.as_ref().unwrap_or(&self.shared.zone);
        let mut lines = Vec::new();
        // Which object a line is of.
        let mut of_line = Vec::new();
        let mut statuses = Vec::with_capacity(objects.len());
        let mut refused = Vec::new();
        for element in objects {
            let (id, written) = match &element {
                Element::Object(vehicle) => {
                    (vehicle.id().unwrap_or_default(), vehicle.write(account, zone, &mut lines))
                }
                Element::Other => ("", Err(Refused::NoObject)),
            };
            let (code, text) = match written {
                Ok(()) => {
                    of_line.push(statuses.len());
                    (Code::Ok, "OK".to_owned())
                }
                Err(why) => {
                    refused.push((why.cause(), String::new()));
                    let code = if why == Refused::NotIts { Code::InvalidOperation } else { Code::JsonContent };
                    (code, why.to_string())
                }
            };
            statuses.push(self.statuses.of(id, code, text));
        }
        if !refused.is_empty() {
            self.hand_over(&account.device_id, Payload::Refused(refused)).await?;
        }
        if of_line.is_empty() {
            return Ok(statuses);
        }
        let lines = Payload::Lines { bytes: lines.into(), format: Format::Ndjson, header: None };
        let outcome = self.hand_over(&account.device_id, lines).await?;
        for RejectedRecords { records, cause } in outcome.rejected {
            for line in records {
                if let Some(status) = of_line.get(line as usize).and_then(|at| statuses.get_mut(*at)) {
                    *status = self.statuses.of(status.id(), Code::JsonContent, cause.clone());
                }
            }
        }
        Ok(statuses)
    }

    async fn hand_over(&self, device_id: &str, payload: Payload) -> Result<Outcome, Refusal> {
        web::judged(&self.shared.feed, format!("viid {device_id}"), payload).await.map_err(|_| {
            self.shared.feed.count_refused(1);
            Refusal::busy(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM)
        })
    }

    /// Tollgates are known by what is configured; who tells of his is answered and nothing is kept.
    fn tollgates(&self, body: Tollgates) -> Vec<Status> {
        let status = |element| match element {
            Element::Object(Tollgate { id }) => self.statuses.of(id.text().unwrap_or_default(), Code::Ok, "OK"),
            Element::Other => self.statuses.of("", Code::JsonContent, "this is no object"),
        };
        body.list.objects.into_elements().into_iter().map(status).collect()
    }

    /// Nobody is handed passages of vehicles that are on no list, whoever asks.
    fn subscribes(&self, body: Subscribes) -> Vec<Status> {
        let status = |element| match element {
            Element::Object(Subscribe { id }) => {
                self.statuses.of(id.text().unwrap_or_default(), Code::InvalidOperation, ONLY_HITS)
            }
            Element::Other => self.statuses.of("", Code::JsonContent, "this is no object"),
        };
        body.list.objects.into_elements().into_iter().map(status).collect()
    }

    fn time(&self) -> Response {
        let (server, local_time) = (&self.shared.server_id, &self.statuses.local_time);
        let time = serde_json::json!({ "SystemTimeObject": {
            "VIIDServerID": server, "TimeMode": "1", "LocalTime": local_time, "TimeZone": self.shared.timezone,
        }});
        web::answer(StatusCode::OK, &time)
    }

    /// Asks who it is.
    fn ask(&self, algorithm: AlgorithmType, stale: bool, why: &str) -> Refusal {
        let challenge = Some(self.shared.challenges.challenge(algorithm, stale, self.now_ms));
        Refusal { challenge, ..Refusal::new(StatusCode::UNAUTHORIZED, Code::InvalidOperation, why) }
    }

    fn refusal(&self, refusal: Refusal) -> Response {
        let Refusal { http, code, why, challenge } = refusal;
        let response = answer::one(http, &self.statuses.of(&self.shared.server_id, code, why));
        match challenge {
            Some(challenge) => answer::with(response, header::WWW_AUTHENTICATE, &challenge),
            None => response,
        }
    }
}

/// What is wrong with a body is told by place, and no value of it is.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "something is not what it should be" } else { "this is no JSON" };
        let why = format!("{what}, at line {line}, column {column}");
        Refusal::new(StatusCode::BAD_REQUEST, Code::JsonFormat, why)
    })
}

impl Refusal {
    fn new(http: StatusCode, code: Code, why: impl Into<String>) -> Self {
        Self { http, code, why: why.into(), challenge: None }
    }

    fn content(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::JsonContent, why)
    }

    fn forbidden(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::InvalidOperation, why)
    }

    fn busy(http: StatusCode, why: &str) -> Self {
        Self::new(http, Code::Busy, why)
    }
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        Self::new(fault.status(), Code::JsonFormat, fault.to_string())
    }
}
