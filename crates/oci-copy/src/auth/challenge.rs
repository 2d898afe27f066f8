//! The `WWW-Authenticate` header ([RFC 9110, section 11.6.1]).
//!
//! [RFC 9110, section 11.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1

use url::Url;

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a realm ([distribution's token authentication]).
    ///
    /// [distribution's token authentication]: https://distribution.github.io/distribution/spec/auth/token/
    Bearer {
        /// Where tokens come from.
        realm: Url,
        /// What the realm calls this registry.
        service: Option<String>,
    },
}

/// The challenge to answer: `Bearer` before `Basic`, as the narrower right. Others are passed over, and so is a
/// challenge that is ambiguous or whose realm isn't an `http` or `https` URL without a user.
pub(crate) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<RawChallenge> = headers.into_iter().flat_map(parse).collect();
    let bearer = all.iter().filter(|c| c.scheme == "bearer").find_map(|challenge| {
        let realm = Url::parse(challenge.parameter("realm")?).ok()?;
        let usable = matches!(realm.scheme(), "http" | "https")
            && realm.has_host()
            && realm.username().is_empty()
            && realm.password().is_none();
        usable.then(|| Challenge::Bearer { realm, service: challenge.parameter("service").map(str::to_owned) })
    });
    bearer.or_else(|| all.iter().any(|c| c.scheme == "basic").then_some(Challenge::Basic))
}

#[derive(Debug, PartialEq, Eq)]
struct RawChallenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl RawChallenge {
    /// A parameter's value; none if it stands there twice, since who reads the other one reads something else.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// Reads what there is to read; a part that makes no sense ends the header.
fn parse(header: &str) -> Vec<RawChallenge> {
    let mut rest = Cursor(header);
    let mut challenges: Vec<RawChallenge> = Vec::new();
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        let word = rest.take(is_token_char);
        if word.is_empty() {
            return challenges;
        }
        let space = rest.skip(|c| c.is_ascii_whitespace());
        if rest.eat('=') {
            if rest.skip(|c| c == '=') > 0 {
                // The padding of token68 data, which no scheme of ours has.
                continue;
            }
            // `name = value` goes on with the challenge before.
            rest.skip(|c| c.is_ascii_whitespace());
            let Some(value) = rest.value() else { return challenges };
            match challenges.last_mut() {
                Some(challenge) => challenge.parameters.push((word.to_ascii_lowercase(), value)),
                None => return challenges,
            }
        } else {
            challenges.push(RawChallenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            if space == 0 && !rest.0.is_empty() && !rest.0.starts_with(',') {
                return challenges;
            }
        }
    }
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !accept(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip(&mut self, accept: impl Fn(char) -> bool) -> usize {
        self.take(accept).len()
    }

    fn eat(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A quoted string, or whatever stands before the next comma or space.
    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            return Some(self.take(|c| c != ',' && !c.is_ascii_whitespace()).to_owned());
        }
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.map(str::to_owned) })
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (
                r#"Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#,
                Some(Challenge::Basic),
            ),
            (
                r#"bearer REALM="https://ghcr.io/token" , Service="ghcr.io""#,
                bearer("https://ghcr.io/token", Some("ghcr.io")),
            ),
            (r#"Bearer service=x, realm=https://r/token"#, bearer("https://r/token", Some("x"))),
            (
                r#"Bearer realm="https://r/token?a=1,2",scope="repository:x:pull,push",error="insufficient_scope""#,
                bearer("https://r/token?a=1,2", None),
            ),
            (r#"Bearer realm = "https://r/to\"ken""#, bearer("https://r/to%22ken", None)),
            (r#"Basic realm="x", Bearer realm="https://r/t""#, bearer("https://r/t", None)),
            (r#"Negotiate, Basic realm="a, b=\"c\"""#, Some(Challenge::Basic)),
            (r#"Negotiate dG9rZW4=, Basic"#, Some(Challenge::Basic)),
            (r#"Negotiate dG9rZQ==, Bearer realm="https://r/t""#, bearer("https://r/t", None)),
            ("Basic", Some(Challenge::Basic)),
            ("Digest realm=\"x\"", None),
            ("", None),
            (",,, ", None),
            ("=", None),
            ("realm=\"https://r/t\"", None),
            ("Bearer", None),
            ("Bearer realm=\"\"", None),
            ("Bearer realm=\"/token\"", None),
            ("Bearer realm=\"file:///etc/passwd\"", None),
            ("Bearer realm=\"https://user:pass@r/t\"", None),
            ("Bearer realm=\"https://unterminated", None),
            ("Bearer realm=\"https://a/t\",realm=\"https://b/t\"", None),
            ("Bearer realm=\"https://a/t\\", None),
        ] {
            assert_eq!(choose([header]), expected, "{header}");
        }
    }

    #[test]
    fn challenges_may_come_in_several_headers() {
        assert_eq!(choose(["Basic realm=x", "Bearer realm=\"https://r/t\""]), bearer("https://r/t", None));
        assert_eq!(choose([]), None);
    }

    proptest! {
        #[test]
        fn reading_any_header_ends_without_panic(header in "[ -~äß]{0,120}") {
            let _ = choose([header.as_str()]);
        }
    }
}
