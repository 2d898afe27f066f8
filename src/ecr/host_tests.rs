//! Hosts that are a private registry's, and hosts that only look like it.

use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "123456789012";

#[test]
fn hosts_of_private_registries_are_built_and_read() {
    use Partition::*;
    for (host, region, partition, fips, dual_stack) in [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1", Aws, false, false),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", Aws, false, false),
        ("123456789012.dkr.ecr.ap-southeast-5.amazonaws.com", "ap-southeast-5", Aws, false, false),
        ("123456789012.dkr.ecr.mx-central-1.amazonaws.com", "mx-central-1", Aws, false, false),
        ("123456789012.dkr.ecr.il-central-1.amazonaws.com", "il-central-1", Aws, false, false),
        ("123456789012.dkr.ecr-fips.us-east-2.amazonaws.com", "us-east-2", Aws, true, false),
        ("123456789012.dkr-ecr.us-east-2.on.aws", "us-east-2", Aws, false, true),
        ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "us-west-2", Aws, true, true),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", AwsUsGov, false, false),
        ("123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1", AwsUsGov, true, false),
        ("123456789012.dkr-ecr.us-gov-west-1.on.aws", "us-gov-west-1", AwsUsGov, false, true),
        ("123456789012.dkr-ecr-fips.us-gov-west-1.on.aws", "us-gov-west-1", AwsUsGov, true, true),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", AwsCn, false, false),
        ("123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1", AwsCn, false, false),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", AwsCn, false, true),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", AwsEusc, false, false),
        ("123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "eusc-de-east-1", AwsEusc, false, true),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", AwsIso, false, false),
        ("123456789012.dkr-ecr.us-iso-east-1.on.aws.ic.gov", "us-iso-east-1", AwsIso, false, true),
        ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", AwsIsoB, false, false),
        ("123456789012.dkr-ecr.us-isob-east-1.on.aws.scloud", "us-isob-east-1", AwsIsoB, false, true),
        ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", AwsIsoE, false, false),
        ("123456789012.dkr-ecr.eu-isoe-west-1.on.cloud-aws.adc-e.uk", "eu-isoe-west-1", AwsIsoE, false, true),
        ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1", AwsIsoF, false, false),
        ("123456789012.dkr-ecr.us-isof-south-1.on.aws.hci.ic.gov", "us-isof-south-1", AwsIsoF, false, true),
    ] {
        let built = RegistryHost::new(ACCOUNT, region, fips, dual_stack);
        assert_eq!(built.to_string(), host);
        assert_eq!(built.partition, partition, "{host}");
        assert_eq!(RegistryHost::parse(host), Some(built), "{host}");
    }
}

#[test]
fn look_alikes_are_not_registries() {
    for host in [
        "",
        ".",
        "123456789012",
        "amazonaws.com",
        "docker.io",
        "localhost:5000",
        // More before or behind.
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com-evil.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.comevil",
        "123456789012.dkr.ecr.eu-west-1.evilamazonaws.com",
        "evil.com.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "evil-123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "evil.com/123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "user@123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/api",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.",
        " 123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com\n",
        // Another account number.
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "1234567890123.dkr.ecr.eu-west-1.amazonaws.com",
        "12345678901x.dkr.ecr.eu-west-1.amazonaws.com",
        "١٢٣٤٥٦٧٨٩٠١٢.dkr.ecr.eu-west-1.amazonaws.com",
        ".dkr.ecr.eu-west-1.amazonaws.com",
        "dkr.ecr.eu-west-1.amazonaws.com",
        // Another case.
        "123456789012.DKR.ECR.EU-WEST-1.AMAZONAWS.COM",
        "123456789012.dkr.ecr.EU-WEST-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.Amazonaws.com",
        // Another service.
        "123456789012.ecr.eu-west-1.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr2.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fipsy.eu-west-1.amazonaws.com",
        "123456789012.dkr_ecr.eu-west-1.amazonaws.com",
        "123456789012.s3.eu-west-1.amazonaws.com",
        // Another region's form.
        "123456789012.dkr.ecr.amazonaws.com",
        "123456789012.dkr.ecr..amazonaws.com",
        "123456789012.dkr.ecr.europe.amazonaws.com",
        "123456789012.dkr.ecr.eu-west.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-x.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-100.amazonaws.com",
        "123456789012.dkr.ecr.eu--1.amazonaws.com",
        "123456789012.dkr.ecr.-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.evil.amazonaws.com",
        "123456789012.dkr.ecr.evil.com.eu-west-1.amazonaws.com",
        // One partition's region under another's domain.
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.eu",
        "123456789012.dkr.ecr.us-iso-east-1.sc2s.sgov.gov",
        "123456789012.dkr.ecr.us-isob-east-1.c2s.ic.gov",
        "123456789012.dkr.ecr.us-gov-west-1.c2s.ic.gov",
        // One form's service under the other's domain.
        "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.on.aws",
        "123456789012.dkr-ecr.eu-west-1.aws",
        "123456789012.dkr-ecr.eu-west-1.on.aws.evil.com",
        "123456789012.dkr-ecr.cn-north-1.on.aws",
        "123456789012.dkr-ecr.eu-west-1.on.amazonwebservices.com.cn",
        // ECR Public is another thing.
        "public.ecr.aws",
        "ecr-public.aws.com",
    ] {
        assert_eq!(RegistryHost::parse(host), None, "{host:?}");
    }
}

#[test]
fn ecr_public_is_recognised_whole() {
    for host in ["public.ecr.aws", "ecr-public.aws.com"] {
        assert!(is_public(host), "{host}");
    }
    for host in
        ["public.ecr.aws.evil.com", "evil-public.ecr.aws", "PUBLIC.ECR.AWS", "public.ecr.aws.", "gallery.ecr.aws"]
    {
        assert!(!is_public(host), "{host}");
    }
}

#[test]
fn an_arn_names_its_partition() {
    assert_eq!(partition_of_arn("arn:aws:iam::123456789012:role/x"), Some(Partition::Aws));
    assert_eq!(partition_of_arn("arn:aws-us-gov:iam::123456789012:role/x"), Some(Partition::AwsUsGov));
    assert_eq!(partition_of_arn("arn:aws-iso-b:iam::123456789012:role/x"), Some(Partition::AwsIsoB));
    for arn in ["", "arn", "arn:", "arn:awsome:iam::1:role/x", "aws:iam"] {
        assert_eq!(partition_of_arn(arn), None, "{arn:?}");
    }
}

fn region() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "us-east-1",
        "eu-central-2",
        "us-gov-east-1",
        "cn-northwest-1",
        "eusc-de-east-1",
        "us-iso-west-1",
        "us-isob-west-1",
        "eu-isoe-west-1",
        "us-isof-east-1",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(account in "[0-9]{12}", region in region(), fips: bool, dual_stack: bool) {
        let host = RegistryHost::new(&account, &region, fips, dual_stack);
        prop_assert_eq!(RegistryHost::parse(&host.to_string()), Some(host));
    }

    #[test]
    fn what_is_read_is_the_whole_name(
        account in "[0-9]{11,13}",
        service in "(dkr[.-]ecr(-fips)?)",
        region in region(),
        suffix in "(amazonaws[.]com([.]cn)?|on[.]aws|amazonaws[.]eu|c2s[.]ic[.]gov)[.]?(evil)?",
    ) {
        let host = format!("{account}.{service}.{region}.{suffix}");
        if let Some(read) = RegistryHost::parse(&host) {
            prop_assert_eq!(read.to_string(), host);
        }
    }

    #[test]
    fn nothing_makes_it_panic(host in any::<String>()) {
        let _ = (RegistryHost::parse(&host), is_public(&host), partition_of_arn(&host));
    }
}

/// The corpus of the fuzz target for these names, and mutations of each file: no other name is read as a host of ECR.
#[test]
fn no_mutation_of_a_host_name_reads_as_another() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ecr_host");
    let files = std::fs::read_dir(folder).expect("the corpus is there");
    let mut names: Vec<String> =
        files.map(|file| std::fs::read_to_string(file.expect("readable").path()).expect("text")).collect();
    names.sort();
    assert!(names.len() >= 5);
    for name in &names {
        for at in 0..name.len() {
            for piece in ["", ".", "-", "x", "1", "/", "@", ":", "evil.io", "amazonaws.com", "%2e", "\u{3002}", "\0"] {
                for changed in [
                    format!("{}{piece}{}", &name[..at], &name[at..]),
                    format!("{}{piece}{}", &name[..at], &name[at + 1..]),
                ] {
                    if let Some(read) = RegistryHost::parse(&changed) {
                        assert_eq!(read.to_string(), changed);
                        assert!(!is_public(&changed) && !changed.contains("evil"), "{changed}");
                    }
                }
            }
        }
    }
}
