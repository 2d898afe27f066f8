//! Who may have signed.

use regex::Regex;

use crate::api::CosignIdentity;

/// Who may have signed: the subject of a certificate and who knows it.
#[derive(Clone, Debug)]
pub struct Identity {
    issuer: Pattern,
    subject: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Regex(Regex),
}

/// Why an identity can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A regular expression is none.
    #[error("{field} {text:?} is not a regular expression: {problem}")]
    Regex {
        /// The field.
        field: &'static str,
        /// What it has.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Neither the value nor an expression is given.
    #[error("neither {field} nor {field}Regex is given")]
    Missing {
        /// The field.
        field: &'static str,
    },
}

impl Identity {
    /// Reads the spec.
    pub fn new(spec: &CosignIdentity) -> Result<Self, IdentityError> {
        let CosignIdentity { issuer, issuer_regex, subject, subject_regex } = spec;
        Ok(Self {
            issuer: Pattern::new(issuer.as_deref(), issuer_regex.as_deref(), "issuer", "issuerRegex")?,
            subject: Pattern::new(subject.as_deref(), subject_regex.as_deref(), "subject", "subjectRegex")?,
        })
    }

    /// Whether it is this one.
    pub(super) fn is(&self, subject: &str, issuer: &str) -> bool {
        self.subject.matches(subject) && self.issuer.matches(issuer)
    }
}

impl Pattern {
    fn new(
        exact: Option<&str>,
        regex: Option<&str>,
        field: &'static str,
        regex_field: &'static str,
    ) -> Result<Self, IdentityError> {
        let Some(text) = regex else {
            return exact.map(|text| Self::Exact(text.to_owned())).ok_or(IdentityError::Missing { field });
        };
        let wrong = |error: regex::Error| {
            let problem = error.to_string();
            // The last line says what is wrong; those before show where.
            let problem = problem.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            IdentityError::Regex { field: regex_field, text: text.to_owned(), problem }
        };
        // By itself first: what is put into a group must not be able to end it.
        Regex::new(text).map_err(wrong)?;
        Regex::new(&format!("^(?:{text})$")).map(Self::Regex).map_err(wrong)
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(issuer: Pattern, subject: Pattern) -> Identity {
        Identity { issuer, subject }
    }

    fn regex(text: &str) -> Result<Pattern, IdentityError> {
        Pattern::new(None, Some(text), "subject", "subjectRegex")
    }

    #[test]
    fn both_the_subject_and_its_issuer_must_be_the_ones() {
        let exact = |text: &str| Pattern::Exact(text.into());
        let it = identity(exact("https://issuer"), exact("me@example.com"));
        assert!(it.is("me@example.com", "https://issuer"));
        assert!(!it.is("me@example.com", "https://other") && !it.is("you@example.com", "https://issuer"));
        assert!(!it.is("me@example.com.evil", "https://issuer"));
    }

    #[test]
    fn an_expression_matches_the_whole_value() {
        for (text, value, expected) in [
            ("https://github\\.com/example/.*", "https://github.com/example/app", true),
            ("https://github\\.com/example/.*", "https://evil.com/?https://github.com/example/app", false),
            ("https://github\\.com/example", "https://github.com/example-evil", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("^a$", "a", true),
            ("a", "a\n", false),
            ("(?m)^a$", "a\nb", false),
            (".*", "a\nb", false),
        ] {
            assert_eq!(regex(text).expect(text).matches(value), expected, "{text} {value:?}");
        }
    }

    #[test]
    fn what_is_no_expression_or_would_leave_its_group_is_refused() {
        for text in ["(", "a)|(?:b", "(?x) a # comment", "a{"] {
            let error = regex(text).expect_err(text).to_string();
            assert!(error.contains("subjectRegex") && !error.contains('\n'), "{error}");
        }
        let nothing = Pattern::new(None, None, "issuer", "issuerRegex").expect_err("nothing").to_string();
        assert!(nothing.contains("issuerRegex"), "{nothing}");
    }
}
