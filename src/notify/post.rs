use std::{io, sync::Arc, time::Duration};

use ureq::{
    Agent, Error,
    http::{HeaderMap, StatusCode, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::Target;

/// What became of one try.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    /// Worth another try, after this time if the receiver named one.
    Later {
        after: Option<Duration>,
        why: String,
    },
    Refused(String),
}

/// A client for one target.
pub(super) fn agent(target: &Target) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots(target))))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    // A proxy is taken from the environment by itself.
    Agent::config_builder()
        .tls_config(tls)
        // Whoever is redirected to would get the token.
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("bootgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// What is trusted on this host, an own authority of its owners included.
fn roots(target: &Target) -> Vec<Certificate<'static>> {
    if target.url.scheme_str() != Some("https") {
        return Vec::new();
    }
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// One POST, over in this time whatever happens.
pub(super) fn post(agent: &Agent, target: &Target, body: &str, within: Duration) -> Answer {
    let mut request = agent.post(&target.url).header(header::CONTENT_TYPE, "application/json");
    if let Some(authorization) = &target.authorization {
        request = request.header(header::AUTHORIZATION, authorization.clone());
    }
    match request.config().timeout_global(Some(within)).build().send(body) {
        Ok(response) => of_status(response.status(), response.headers()),
        Err(error) => of_error(&error),
    }
}

fn of_status(status: StatusCode, headers: &HeaderMap) -> Answer {
    let why = format!("it answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Answer::Taken,
        300..=399 => Answer::Refused(format!("{why}: redirects are not followed")),
        429 | 500..=599 => {
            // In seconds; its other form, a date, is left to our own pauses.
            let named = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Answer::Later { after: named.map(Duration::from_secs), why }
        }
        _ => Answer::Refused(why),
    }
}

/// In our own words: the library's may hold the URL.
fn of_error(error: &Error) -> Answer {
    let later = |why: String| Answer::Later { after: None, why };
    match error {
        // Certificates that do not hold come as such; they will not do so later either.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Answer::Refused(error.to_string()),
        Error::Io(error) => later(error.to_string()),
        Error::HostNotFound => later("its name is not known".to_owned()),
        Error::ConnectionFailed => later("no connection".to_owned()),
        Error::ConnectProxyFailed(_) => later("the proxy gave no connection".to_owned()),
        Error::Timeout(_) => Answer::Refused("no answer in time".to_owned()),
        Error::Rustls(error) => Answer::Refused(error.to_string()),
        Error::InvalidProxyUrl => Answer::Refused("the proxy in the environment has no valid URL".to_owned()),
        Error::Protocol(_) => Answer::Refused("its answer is no HTTP".to_owned()),
        _ => Answer::Refused("it could not be sent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
        format!("{:?}", of_status(StatusCode::from_u16(status).unwrap(), &headers))
    }

    #[test]
    fn only_what_may_be_better_later_is_tried_again() {
        assert_eq!(answer(204, "1"), "Taken");
        assert_eq!(answer(302, "1"), r#"Refused("it answered 302: redirects are not followed")"#);
        assert_eq!(answer(404, "1"), r#"Refused("it answered 404")"#);
        assert_eq!(answer(429, "7"), r#"Later { after: Some(7s), why: "it answered 429" }"#);
        assert_eq!(answer(503, "Wed, 21 Oct 2026 07:28:00 GMT"), r#"Later { after: None, why: "it answered 503" }"#);
        assert_eq!(answer(500, "-1"), r#"Later { after: None, why: "it answered 500" }"#);
    }
}
