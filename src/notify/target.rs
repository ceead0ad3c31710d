use std::{collections::BTreeMap, fmt};

use ureq::http::{HeaderValue, Uri};

use crate::model::{Secrets, one_line};

/// The environment variable with the token for receivers that take the generic form.
pub const TOKEN: &str = "BOOTGATE_NOTIFY_TOKEN";

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Our own JSON.
    Generic,
    /// An incoming webhook of Slack, or of what is compatible with it.
    Slack,
    /// A workflow of Microsoft Teams, or one of its older incoming webhooks.
    Teams,
}

/// Where decisions are told.
pub struct Target {
    pub(super) shape: Shape,
    pub(super) url: Uri,
    /// `Authorization`, marked as not to be shown.
    pub(super) authorization: Option<HeaderValue>,
}

/// Why a target cannot be used. Names nothing of the URL beyond its host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("this is no URL such as https://HOST/PATH or `${{env:NAME}}`, which may follow slack=, teams= or generic=")]
    NoUrl,
    #[error("the URL's scheme has to be https or http")]
    Scheme,
    #[error("the environment variable {name} is not set, or empty: it belongs to the URL")]
    NoVariable { name: String },
    #[error(
        "the URL of {host} has a user or a password in it, which is not sent: put a token for it into the environment \
         variable {token}",
        token = TOKEN
    )]
    UserInfo { host: String },
    #[error(
        "the URL of a webhook at {host} is a secret, and a command line is not: put it into an environment variable, \
         and give `${{env:NAME}}`"
    )]
    Bare { host: String },
    #[error("{token} would go to {host} unencrypted: its URL has to begin with https", token = TOKEN)]
    Unencrypted { host: String },
    #[error("{token} holds a character that no header can have, such as a line's end", token = TOKEN)]
    Token,
}

impl Target {
    /// From the command line: `[generic=|slack=|teams=]URL`, with `${env:NAME}` anywhere in the URL.
    ///
    /// # Errors
    /// It cannot be used, or would make a secret known.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, TargetError> {
        let (named, text) = named(text);
        let variables: Vec<&str> = Secrets::names_in(text).collect();
        if text.matches("${env:").count() != variables.len() {
            return Err(TargetError::NoUrl);
        }
        let url = revealed(text, &variables, env)?;
        let url: Uri = url.trim().parse().map_err(|_| TargetError::NoUrl)?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(TargetError::NoUrl);
        };
        let is_encrypted = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError::Scheme),
        };
        let host = one_line(authority.host());
        // Other numbers would be taken for none, and the usual port be asked.
        let port = authority.as_str().rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        if authority.port_u16().is_none() && port.is_some() && !authority.as_str().contains('@') {
            return Err(TargetError::NoUrl);
        }
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo { host });
        }
        let known = Shape::of_host(&host);
        if known.is_some() && variables.is_empty() {
            return Err(TargetError::Bare { host });
        }
        let shape = named.or(known).unwrap_or(Shape::Generic);
        // Another receiver's token is nothing for Slack or Teams.
        let token = env(TOKEN).filter(|token| shape == Shape::Generic && !token.is_empty());
        if token.is_some() && !is_encrypted && !is_loopback(&host) {
            return Err(TargetError::Unencrypted { host });
        }
        let authorization = token.map(|token| bearer(&token)).transpose()?;
        Ok(Self { shape, url, authorization })
    }

    /// Its scheme and host, which is all that is shown of it.
    pub fn shown(&self) -> String {
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        one_line(&format!("{}://{authority}", self.url.scheme_str().unwrap_or_default()))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("shape", &self.shape).field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl Shape {
    /// That of services whose hosts are known, and whose webhooks have no secret but their URL.
    fn of_host(host: &str) -> Option<Self> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        if matches!(host.as_str(), "hooks.slack.com" | "hooks.slack-gov.com") {
            return Some(Self::Slack);
        }
        let teams = ["webhook.office.com", "logic.azure.com", "powerplatform.com"];
        teams.iter().any(|domain| is_below(domain)).then_some(Self::Teams)
    }
}

fn named(text: &str) -> (Option<Shape>, &str) {
    for (name, shape) in [("generic=", Shape::Generic), ("slack=", Shape::Slack), ("teams=", Shape::Teams)] {
        if let Some(url) = text.strip_prefix(name) {
            return (Some(shape), url);
        }
    }
    (None, text)
}

fn revealed(text: &str, names: &[&str], env: &dyn Fn(&str) -> Option<String>) -> Result<String, TargetError> {
    let value = |name: &&str| match env(name).filter(|value| !value.trim().is_empty()) {
        Some(value) => Ok(((*name).to_owned(), value.trim().to_owned())),
        None => Err(TargetError::NoVariable { name: one_line(name) }),
    };
    let values: BTreeMap<String, String> = names.iter().map(value).collect::<Result<_, _>>()?;
    Ok(Secrets::new(values).reveal(text))
}

fn bearer(token: &str) -> Result<HeaderValue, TargetError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| TargetError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, TargetError> {
        let env = |name: &str| {
            let value = match name {
                "SLACK" => "https://hooks.slack.com/services/T/B/s3cret\n",
                "KEY" => "s3cret",
                "EMPTY" => " ",
                _ => return None,
            };
            Some(value.to_owned())
        };
        Target::parse(text, &env)
    }

    fn with_token(text: &str, token: &str) -> Result<Target, TargetError> {
        Target::parse(text, &|name| (name == TOKEN).then(|| token.to_owned()))
    }

    #[test]
    fn the_shape_is_given_or_known_by_the_host() {
        for (text, shape, shown) in [
            ("https://ci.example/hook?k=${env:KEY}", Shape::Generic, "https://ci.example"),
            ("${env:SLACK}", Shape::Slack, "https://hooks.slack.com"),
            ("generic=${env:SLACK}", Shape::Generic, "https://hooks.slack.com"),
            ("slack=http://chat.example:8065/hooks/x", Shape::Slack, "http://chat.example:8065"),
            ("https://x.webhook.office.com/${env:KEY}", Shape::Teams, "https://x.webhook.office.com"),
            ("https://a.b.logic.azure.com:443/${env:KEY}", Shape::Teams, "https://a.b.logic.azure.com:443"),
            ("https://notlogic.azure.com/", Shape::Generic, "https://notlogic.azure.com"),
        ] {
            let target = parse(text).unwrap();
            assert_eq!((target.shape, target.shown().as_str()), (shape, shown), "{text}");
            assert!(!format!("{target:?}").contains("s3cret"), "{target:?}");
        }
        assert_eq!(parse("https://h/${env:KEY}").unwrap().url.path(), "/s3cret");
    }

    #[test]
    fn what_cannot_be_used_or_would_tell_a_secret_is_refused_without_telling_it() {
        let host = |host: &str| host.to_owned();
        for (text, error) in [
            ("", TargetError::NoUrl),
            ("not a url s3cret", TargetError::NoUrl),
            ("/path", TargetError::NoUrl),
            ("http://h:99999/s3cret", TargetError::NoUrl),
            ("https://h/${env:KEY", TargetError::NoUrl),
            ("https://hooks.slack.com./services/s3cret", TargetError::Bare { host: host("hooks.slack.com.") }),
            ("ftp://h/s3cret", TargetError::Scheme),
            ("https://user:s3cret@h.example/", TargetError::UserInfo { host: host("h.example") }),
            ("https://${env:KEY}@h.example/", TargetError::UserInfo { host: host("h.example") }),
            ("https://hooks.slack.com/services/s3cret", TargetError::Bare { host: host("hooks.slack.com") }),
            ("https://h/${env:NOPE}", TargetError::NoVariable { name: "NOPE".into() }),
            ("https://h/${env:EMPTY}", TargetError::NoVariable { name: "EMPTY".into() }),
        ] {
            let found = parse(text).unwrap_err();
            assert!(!found.to_string().contains("s3cret"), "{found}");
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn a_token_goes_encrypted_to_whoever_takes_the_generic_form() {
        let sent = |url: &str| with_token(url, "t0ken\n").unwrap().authorization;
        assert_eq!(sent("https://h/").unwrap(), "Bearer t0ken");
        assert_eq!(sent("http://127.0.0.1:1/").unwrap(), "Bearer t0ken");
        assert!(sent("http://[::1]:1/").is_some() && sent("slack=https://h/").is_none());
        let host = "h".to_owned();
        assert_eq!(with_token("http://h/", "t0ken").unwrap_err(), TargetError::Unencrypted { host });
        assert_eq!(with_token("https://h/", "a\nb").unwrap_err(), TargetError::Token);
        assert!(with_token("http://h/", "").unwrap().authorization.is_none());
    }
}
