//! Host names of registries: built from what is known of a registry, and read back, matched whole.
//!
//! Who sends a token to a host must know whose host it is. A name that merely contains ECR's, or ends like it, is not one.
//!
//! Source: "Amazon ECR endpoints and quotas" in the AWS General Reference, "Making requests to Amazon ECR registries" in
//! the ECR User Guide, and the partitions of AWS's endpoint rules.

use std::fmt;

/// Hosts of ECR Public. They are no private registry, and their token comes from us-east-1 alone.
const PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// The host of a private registry, in its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegistryHost {
    /// The 12 digits of the AWS account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The partition that the region belongs to.
    pub partition: Partition,
    /// Whether the host takes FIPS 140-3 validated cryptography.
    pub fips: bool,
    /// Whether the host has IPv6 addresses beside its IPv4 ones.
    pub dual_stack: bool,
}

/// A part of AWS with accounts, names and endpoints of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
    /// The European Sovereign Cloud.
    AwsEusc,
    /// US isolated regions, top secret.
    AwsIso,
    /// US isolated regions, secret.
    AwsIsoB,
    /// European isolated regions.
    AwsIsoE,
    /// US isolated regions of a further kind.
    AwsIsoF,
}

impl Partition {
    const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsEusc,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
    ];

    /// The partition of a region. A region of a kind that is not known here is taken for a commercial one, as AWS's own
    /// clients do.
    pub fn of_region(region: &str) -> Self {
        // Every prefix ends with the dash: `us-iso-` is none of `us-isob-`.
        const PREFIXES: [(&str, Partition); 7] = [
            ("cn-", Partition::AwsCn),
            ("us-gov-", Partition::AwsUsGov),
            ("eusc-", Partition::AwsEusc),
            ("us-iso-", Partition::AwsIso),
            ("us-isob-", Partition::AwsIsoB),
            ("eu-isoe-", Partition::AwsIsoE),
            ("us-isof-", Partition::AwsIsoF),
        ];
        PREFIXES.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or(Self::Aws, |(_, partition)| *partition)
    }

    /// The partition's name in ARNs.
    pub fn id(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    fn suffix(self, dual_stack: bool) -> &'static str {
        match (self, dual_stack) {
            (Self::Aws | Self::AwsUsGov, false) => "amazonaws.com",
            (Self::Aws | Self::AwsUsGov, true) => "on.aws",
            (Self::AwsCn, false) => "amazonaws.com.cn",
            (Self::AwsCn, true) => "on.amazonwebservices.com.cn",
            (Self::AwsEusc, false) => "amazonaws.eu",
            (Self::AwsEusc, true) => "on.amazonwebservices.eu",
            (Self::AwsIso, false) => "c2s.ic.gov",
            (Self::AwsIso, true) => "on.aws.ic.gov",
            (Self::AwsIsoB, false) => "sc2s.sgov.gov",
            (Self::AwsIsoB, true) => "on.aws.scloud",
            (Self::AwsIsoE, false) => "cloud.adc-e.uk",
            (Self::AwsIsoE, true) => "on.cloud-aws.adc-e.uk",
            (Self::AwsIsoF, false) => "csp.hci.ic.gov",
            (Self::AwsIsoF, true) => "on.aws.hci.ic.gov",
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl RegistryHost {
    /// The host of the registry of this account in this region.
    pub fn new(account: &str, region: &str, fips: bool, dual_stack: bool) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            partition: Partition::of_region(region),
            fips,
            dual_stack,
        }
    }

    /// Reads a host name. `None`: it is not the host of a private registry, in part or in whole. A port, a trailing dot,
    /// a scheme or an upper-case letter makes it another name: names of images are never written with them.
    pub fn parse(host: &str) -> Option<Self> {
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        const SERVICES: [(&str, bool, bool); 4] = [
            ("dkr.ecr.", false, false),
            ("dkr.ecr-fips.", true, false),
            ("dkr-ecr.", false, true),
            ("dkr-ecr-fips.", true, true),
        ];
        let (rest, fips, dual_stack) = SERVICES
            .iter()
            .find_map(|(service, fips, dual_stack)| Some((rest.strip_prefix(service)?, *fips, *dual_stack)))?;
        let (region, suffix) = rest.split_once('.')?;
        let partition = Partition::of_region(region);
        if !is_region(region) || suffix != partition.suffix(dual_stack) {
            return None;
        }
        Some(Self { account: account.to_owned(), region: region.to_owned(), partition, fips, dual_stack })
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, region, partition, fips, dual_stack } = self;
        let service = match (fips, dual_stack) {
            (false, false) => "dkr.ecr",
            (true, false) => "dkr.ecr-fips",
            (false, true) => "dkr-ecr",
            (true, true) => "dkr-ecr-fips",
        };
        write!(f, "{account}.{service}.{region}.{}", partition.suffix(*dual_stack))
    }
}

/// The host of a private registry, by the account and the region.
pub(super) fn registry_host(account: &str, region: &str) -> String {
    RegistryHost::new(account, region, false, false).to_string()
}

/// Whether this is a host of ECR Public.
pub fn is_public(host: &str) -> bool {
    PUBLIC.contains(&host)
}

/// The partition that an ARN names, if it is one of AWS's.
pub fn partition_of_arn(arn: &str) -> Option<Partition> {
    let id = arn.strip_prefix("arn:")?.split(':').next()?;
    Partition::ALL.into_iter().find(|partition| partition.id() == id)
}

/// Whether this has the form of a region's name: words of lower-case letters and a number, such as `ap-southeast-2`.
fn is_region(region: &str) -> bool {
    let mut parts: Vec<&str> = region.split('-').collect();
    let Some(number) = parts.pop() else { return false };
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let are_words = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()));
    is_number && are_words && (2..=4).contains(&parts.len())
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
