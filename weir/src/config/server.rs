//! A broker or database as declared: where it is, how it is trusted, and how weir logs in.

use std::path::Path;
use std::sync::Arc;

use weir_connectors::client::{
    ClientConfig, KafkaCluster, KafkaSasl, KafkaTrust, Login, MqttBroker, MqttVersion, NatsLogin, NatsServer,
    PostgresServer, S3Bucket, SyslogServer, ViidPlatform, tls_config,
};
use weir_engine::vfs::Vfs;
use weir_rules::diagnostic::codes;
use weir_rules::yaml::MapReader;
use weir_rules::{Diagnostic, Diagnostics, SourceFile};

use super::sinks::StoreDecl;
use super::{Named, keys};

/// Longest file with a password, a token or certificates.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Whether a connection is by TLS.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Tls {
    Never,
    Always,
    BeyondThisMachine,
}

/// A way to name a server: the scheme of its URL, what that means for TLS, and the port where none stands.
type Scheme = (&'static str, Tls, u16);

/// Servers of one protocol: how they are named, and who gets in.
pub(super) struct Family {
    schemes: &'static [Scheme],
    logs_in: LogsIn,
    /// The URL names a database.
    has_database: bool,
}

/// Whether weir logs in.
#[derive(Clone, Copy, PartialEq)]
enum LogsIn {
    Never,
    /// With a user, if there is one.
    May,
    /// The same, or with a token, or with credentials of NATS.
    MayInManyWays,
    /// With a user.
    Must,
}

const HTTP: &[Scheme] = &[("http", Tls::Never, 80), ("https", Tls::Always, 443)];

pub(super) const MQTT: &Family = &Family {
    schemes: &[("mqtt", Tls::Never, 1883), ("mqtts", Tls::Always, 8883)],
    logs_in: LogsIn::May,
    has_database: false,
};
pub(super) const NATS: &Family = &Family {
    schemes: &[("nats", Tls::Never, 4222), ("tls", Tls::Always, 4222)],
    logs_in: LogsIn::MayInManyWays,
    has_database: false,
};
pub(super) const KAFKA: &Family = &Family {
    schemes: &[("kafka", Tls::Never, 9092), ("kafkas", Tls::Always, 9093)],
    logs_in: LogsIn::May,
    has_database: false,
};
pub(super) const SYSLOG: &Family = &Family {
    schemes: &[("syslog", Tls::Never, 601), ("syslogs", Tls::Always, 6514)],
    logs_in: LogsIn::Never,
    has_database: false,
};
pub(super) const S3: &Family = &Family { schemes: HTTP, logs_in: LogsIn::Must, has_database: false };
pub(super) const VIID: &Family = &Family { schemes: HTTP, logs_in: LogsIn::Must, has_database: false };
pub(super) const POSTGRES: &Family =
    &Family { schemes: &[("postgres", Tls::BeyondThisMachine, 5432)], logs_in: LogsIn::Must, has_database: true };

/// How weir logs in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LoginDecl {
    None,
    User { user: String, password_file: Named },
    Token(Named),
    Credentials(Named),
}

/// A server as declared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerDecl {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Of PostgreSQL.
    database: String,
    tls: bool,
    ca_file: Option<Named>,
    login: LoginDecl,
}

/// What stands in a URL: scheme, host, port, path.
fn split(url: &str) -> Option<(&str, &str, Option<u16>, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(str::parse).transpose().ok()?;
    let is_plain = |text: &str| !text.contains(['/', '@', '?', '#', ' ', '%']);
    (!host.is_empty() && is_plain(host) && is_plain(path)).then_some((scheme, host, port, path))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// Where the server is, and how weir logs in: `url`, `ca_file`, `user` with `password_file`, and for NATS `token_file` or
/// `credentials_file`.
pub(super) fn parse_server(
    file: &Arc<SourceFile>,
    path: &Path,
    map: &mut MapReader<'_>,
    family: &Family,
    diagnostics: &mut Diagnostics,
) -> Option<ServerDecl> {
    let Family { schemes, logs_in, has_database } = *family;
    let example =
        format!("such as {}://127.0.0.1:{}{}", schemes[0].0, schemes[0].2, if has_database { "/registry" } else { "" });
    let url = map.require_text("url", &example, diagnostics);
    let named = |key, map: &mut MapReader<'_>, diagnostics: &mut Diagnostics| {
        let found = map.take_text(key, diagnostics);
        found.map(|(text, node)| Named { path: keys::path_of(path, text), span: node.span.clone() })
    };
    let ca_file = named("ca_file", map, diagnostics);
    let (with_user, in_many_ways) = (logs_in != LogsIn::Never, logs_in == LogsIn::MayInManyWays);
    let user = if with_user { map.take_text("user", diagnostics) } else { None };
    let password_file = if with_user { named("password_file", map, diagnostics) } else { None };
    let token = if in_many_ways { named("token_file", map, diagnostics) } else { None };
    let credentials = if in_many_ways { named("credentials_file", map, diagnostics) } else { None };
    let mut complain = |span, message: String, help: &str| {
        diagnostics.push(Diagnostic::new(&codes::BAD_VALUE, file, span, message).help(help));
    };
    let ways = usize::from(user.is_some()) + usize::from(token.is_some()) + usize::from(credentials.is_some());
    if ways > 1 {
        complain(
            map.head(),
            "it logs in in two ways".to_owned(),
            "leave one of `user`, `token_file`, `credentials_file`",
        );
    }
    if logs_in == LogsIn::Must && user.is_none() {
        complain(map.head(), "it has no `user`".to_owned(), "add `user` and `password_file`");
    }
    if user.is_some() != password_file.is_some() {
        let key = if user.is_some() { "user" } else { "password_file" };
        complain(map.place_of(key), "`user` and `password_file` go together".to_owned(), "add the other one");
    }
    let login = match (user, password_file, token, credentials) {
        (Some((user, _)), Some(password_file), ..) => LoginDecl::User { user: user.to_owned(), password_file },
        (_, _, Some(token), _) => LoginDecl::Token(token),
        (.., Some(credentials)) => LoginDecl::Credentials(credentials),
        _ => LoginDecl::None,
    };
    let (url, node) = url?;
    let known =
        split(url).filter(|(.., path)| path.is_empty() != has_database).and_then(|(scheme, host, port, path)| {
            let (_, tls, default) = schemes.iter().find(|(known, ..)| *known == scheme)?;
            let tls = *tls == Tls::Always || (*tls == Tls::BeyondThisMachine && !is_loopback(host));
            Some((host.to_owned(), port.unwrap_or(*default), tls, path.to_owned()))
        });
    let Some((host, port, tls, database)) = known else {
        let schemes: Vec<&str> = schemes.iter().map(|(scheme, ..)| *scheme).collect();
        let help = format!("{example}; it begins with one of {}, and names no user", schemes.join(", "));
        complain(node.span.clone(), "this is no address of such a server".to_owned(), &help);
        return None;
    };
    if !tls && !is_loopback(&host) {
        let secure = schemes.iter().find(|(_, tls, _)| *tls == Tls::Always).map_or("", |(scheme, ..)| scheme);
        let message = "records and alerts leave the machine over TLS only".to_owned();
        complain(node.span.clone(), message, &format!("write {secure}://{host}, or an address of this machine"));
    }
    if !tls && let Some(ca_file) = &ca_file {
        complain(ca_file.span.clone(), "a connection in the clear has no use for `ca_file`".to_owned(), "leave it out");
    }
    Some(ServerDecl { host, port, database, tls, ca_file, login })
}

/// What a file holds that only we should read.
pub(super) fn secret(named: &Named, vfs: &dyn Vfs) -> Result<String, (Named, String)> {
    vfs.read_text(&named.path, SECRET_BYTES_MAX)
        .map_err(|error| (named.clone(), format!("{} cannot be read: {error}", named.path.display())))
}

/// A user with the password out of its file.
pub(super) fn login(user: &str, password_file: &Named, vfs: &dyn Vfs) -> Result<Login, (Named, String)> {
    let password = secret(password_file, vfs)?.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Login { user: user.to_owned(), password })
}

impl ServerDecl {
    /// What is wrong with the files it names, if anything is.
    pub(super) fn check(&self, vfs: &dyn Vfs) -> Result<(), (Named, String)> {
        self.nats_login(vfs)?;
        self.tls(vfs).map(drop)
    }

    fn tls(&self, vfs: &dyn Vfs) -> Result<Option<Arc<ClientConfig>>, (Named, String)> {
        if !self.tls {
            return Ok(None);
        }
        let ca = self.ca_file.as_ref().map(|named| secret(named, vfs)).transpose()?;
        let whose = self.ca_file.clone().unwrap_or_default();
        tls_config(ca.as_deref()).map(Some).map_err(|error| (whose, error.to_string()))
    }

    fn login(&self, vfs: &dyn Vfs) -> Result<Option<Login>, (Named, String)> {
        let LoginDecl::User { user, password_file } = &self.login else { return Ok(None) };
        login(user, password_file, vfs).map(Some)
    }

    fn nats_login(&self, vfs: &dyn Vfs) -> Result<NatsLogin, (Named, String)> {
        Ok(match &self.login {
            LoginDecl::Token(named) => NatsLogin::Token(secret(named, vfs)?.trim().to_owned()),
            LoginDecl::Credentials(named) => NatsLogin::Credentials(secret(named, vfs)?),
            _ => self.login(vfs)?.map_or(NatsLogin::None, NatsLogin::User),
        })
    }

    /// As an MQTT broker.
    pub(super) fn mqtt(&self, version: MqttVersion, client_id: &str, vfs: &dyn Vfs) -> Result<MqttBroker, String> {
        Ok(MqttBroker {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls(vfs).map_err(|(_, message)| message)?,
            version,
            client_id: client_id.to_owned(),
            login: self.login(vfs).map_err(|(_, message)| message)?,
        })
    }

    /// As a Kafka cluster.
    pub(super) fn kafka(&self, sasl: KafkaSasl, vfs: &dyn Vfs) -> Result<KafkaCluster, String> {
        let trust = match &self.ca_file {
            Some(named) => KafkaTrust::Pem(secret(named, vfs).map_err(|(_, message)| message)?),
            None => KafkaTrust::System,
        };
        let login = self.login(vfs).map_err(|(_, message)| message)?;
        Ok(KafkaCluster {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls.then_some(trust),
            login: login.map(|login| (sasl, login)),
        })
    }

    /// As a database.
    pub(super) fn postgres(&self, vfs: &dyn Vfs) -> Result<PostgresServer, String> {
        let login = self.login(vfs).map_err(|(_, message)| message)?;
        Ok(PostgresServer {
            host: self.host.clone(),
            port: self.port,
            database: self.database.clone(),
            tls: self.tls(vfs).map_err(|(_, message)| message)?,
            login: login.ok_or("it has no `user`")?,
        })
    }

    /// As a collector of syslog.
    pub(super) fn syslog(&self, vfs: &dyn Vfs) -> Result<SyslogServer, String> {
        let tls = self.tls(vfs).map_err(|(_, message)| message)?;
        Ok(SyslogServer { host: self.host.clone(), port: self.port, tls })
    }

    /// As a store that speaks S3.
    pub(super) fn s3(&self, store: &StoreDecl, vfs: &dyn Vfs) -> Result<S3Bucket, String> {
        let (host, port) = (&self.host, self.port);
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let ca = self.ca_file.as_ref().map(|named| secret(named, vfs)).transpose().map_err(|(_, message)| message)?;
        let login = self.login(vfs).map_err(|(_, message)| message)?;
        Ok(S3Bucket {
            endpoint: format!("{}://{host}:{port}", if self.tls { "https" } else { "http" }),
            bucket: store.bucket.clone(),
            prefix: store.prefix.clone(),
            region: store.region.clone(),
            ca,
            login: login.ok_or("it has no `user`")?,
        })
    }

    /// As a platform of GA/T 1400.
    pub(super) fn viid(&self, our_id: &str, vfs: &dyn Vfs) -> Result<ViidPlatform, String> {
        let login = self.login(vfs).map_err(|(_, message)| message)?;
        Ok(ViidPlatform {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls(vfs).map_err(|(_, message)| message)?,
            our_id: our_id.to_owned(),
            login: login.ok_or("it has no `user`")?,
        })
    }

    /// As a NATS server.
    pub(super) fn nats(&self, name: &str, vfs: &dyn Vfs) -> Result<NatsServer, String> {
        Ok(NatsServer {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls(vfs).map_err(|(_, message)| message)?,
            login: self.nats_login(vfs).map_err(|(_, message)| message)?,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, split};

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(split("mqtt://127.0.0.1:7"), Some(("mqtt", "127.0.0.1", Some(7), "")));
        assert_eq!(split("nats://a.b/"), Some(("nats", "a.b", None, "")));
        assert_eq!(split("postgres://a/registry"), Some(("postgres", "a", None, "registry")));
        assert_eq!(split("mqtts://[::1]:8883"), Some(("mqtts", "::1", Some(8883), "")));
        assert_eq!(split("mqtts://[::1]"), Some(("mqtts", "::1", None, "")));
        for text in
            ["", "a:7", "mqtt://", "mqtt://u:p@h:7", "mqtt://h:x", "mqtt://h:99999", "mqtt://h/a/b", "mqtt://[::1]7"]
        {
            assert_eq!(split(text), None, "{text}");
        }
        assert!(
            is_loopback("localhost")
                && is_loopback("::1")
                && !is_loopback("10.0.0.1")
                && !is_loopback("localhost.evil")
        );
    }
}
