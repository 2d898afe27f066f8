//! Which images a policy would take away again as soon as they are pushed: those for which a rule that keeps a number of
//! images has no room.

use std::collections::HashSet;

use wildmatch::WildMatch;

use super::Policy;
use super::rule::{Body, Effect, Selection};

impl Policy {
    /// Of images that are to be in a repository together, those for which there is no room, each by its index and with the
    /// rule in words. An image is given by its tags, the one that matters most first.
    ///
    /// Rules that count days take nothing away at once. An image is the first rule's whose tags it has, and no later one's,
    /// as in ECR. Other images of the repository need room too: they are not known here, so there may be less than this says.
    pub fn crowded_out(&self, images: &[Vec<&str>]) -> Vec<(usize, String)> {
        let mut taken = HashSet::new();
        let mut crowded = Vec::new();
        for (rule, number) in self.rules.iter().zip(1..) {
            let Body::Known { selection, effect } = &rule.body else { continue };
            let selected: Vec<usize> = (0..images.len())
                .filter(|image| !taken.contains(image) && selects(selection, &images[*image]))
                .collect();
            taken.extend(selected.iter().copied());
            let (Effect::KeepLast(room) | Effect::ArchiveAllButLast(room)) = effect else { continue };
            let words = format!("rule {number}: {rule}");
            crowded.extend(selected.into_iter().skip(*room as usize).map(|image| (image, words.clone())));
        }
        crowded
    }
}

fn selects(selection: &Selection, tags: &[&str]) -> bool {
    match selection {
        Selection::Any => true,
        Selection::Untagged => tags.is_empty(),
        Selection::Prefixes(prefixes) => {
            !tags.is_empty() && prefixes.iter().all(|prefix| tags.iter().any(|tag| tag.starts_with(prefix.as_str())))
        }
        // ECR's patterns know `*` only; a tag has no `?`.
        Selection::Patterns(patterns) => {
            let found = |pattern: &String| {
                let pattern = WildMatch::new(pattern);
                tags.iter().any(|tag| pattern.matches(tag))
            };
            !tags.is_empty() && patterns.iter().all(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let rules: serde_json::Value = serde_saphyr::from_str(rules).expect("YAML");
        Policy::parse(&serde_json::json!({"rules": rules}).to_string()).expect("a policy")
    }

    fn rule(priority: u32, selection: &str, count: &str) -> String {
        format!("{{rulePriority: {priority}, selection: {{{selection}, {count}}}, action: {{type: expire}}}}")
    }

    fn left_out(rules: &[String], images: &[&[&str]]) -> Vec<usize> {
        let images: Vec<Vec<&str>> = images.iter().map(|tags| tags.to_vec()).collect();
        let crowded = policy(&format!("[{}]", rules.join(","))).crowded_out(&images);
        crowded.into_iter().map(|(image, _)| image).collect()
    }

    const TWO: &str = "countType: imageCountMoreThan, countNumber: 2";
    const RELEASES: &str = "tagStatus: tagged, tagPatternList: ['v*']";

    #[test]
    fn there_is_room_for_the_first_images_of_a_rule_that_counts() {
        let images: &[&[&str]] = &[&["v3"], &["v2"], &["latest"], &["v1"]];
        assert_eq!(left_out(&[rule(1, RELEASES, TWO)], images), [3]);
        assert_eq!(left_out(&[rule(1, "tagStatus: any", TWO)], images), [2, 3]);
        assert_eq!(left_out(&[rule(1, "tagStatus: tagged, tagPrefixList: [v]", TWO)], images), [3]);
        assert!(left_out(&[rule(1, "tagStatus: untagged", TWO)], images).is_empty());
    }

    #[test]
    fn an_image_with_several_tags_counts_once() {
        assert!(left_out(&[rule(1, RELEASES, TWO)], &[&["v3", "v3.1"], &["v2", "v2.1"]]).is_empty());
    }

    #[test]
    fn an_image_is_the_first_rule_s_that_has_its_tags() {
        let rules =
            [rule(1, RELEASES, "countType: imageCountMoreThan, countNumber: 10"), rule(2, "tagStatus: any", TWO)];
        assert_eq!(left_out(&rules, &[&["v3"], &["v2"], &["v1"], &["a"], &["b"], &["c"]]), [5]);
    }

    #[test]
    fn rules_that_count_days_take_nothing_at_once() {
        let days = "countType: sinceImagePushed, countUnit: days, countNumber: 1";
        assert!(left_out(&[rule(1, "tagStatus: any", days)], &[&["a"], &["b"]]).is_empty());
    }
}
