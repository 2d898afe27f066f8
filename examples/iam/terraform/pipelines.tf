# The roles of pipelines: one that looks, and one that pushes. Each trusts one branch of one repository by the forge's OIDC
# token. A plan runs on pull requests, whose tokens say so in place of a branch.

locals {
  github_trust = replace(
    local.documents["github-trust-policy"], "example/images", coalesce(var.github_repository, "example/images"),
  )
  gitlab_trust = replace(
    local.documents["gitlab-trust-policy"], "example/images", coalesce(var.gitlab_project, "example/images"),
  )

  push_trusts = merge(
    var.github_repository != null ? { github = local.github_trust } : {},
    var.gitlab_project != null ? { gitlab = local.gitlab_trust } : {},
  )

  plan_trusts = merge(
    var.github_repository != null ? {
      github = replace(local.github_trust, ":ref:refs/heads/main", ":pull_request")
    } : {},
    var.gitlab_project != null ? {
      # A merge request's pipeline has the name of its own branch: any branch may look.
      gitlab = replace(
        replace(local.gitlab_trust, ":ref_type:branch:ref:main", ":ref_type:branch:ref:*"),
        "StringEquals", "StringLike",
      )
    } : {},
  )
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository != null ? 1 : 0

  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_openid_connect_provider" "gitlab" {
  count = var.gitlab_project != null ? 1 : 0

  url            = "https://gitlab.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "plan" {
  for_each = local.plan_trusts

  name               = "ecr-plan-${each.key}"
  description        = "Pipelines that run ecr-operator plan."
  assume_role_policy = each.value
}

resource "aws_iam_role_policy" "plan" {
  for_each = local.plan_trusts

  name   = "plan"
  role   = aws_iam_role.plan[each.key].name
  policy = local.documents["plan-policy"]
}

resource "aws_iam_role" "push" {
  for_each = local.push_trusts

  name               = "ecr-push-${each.key}"
  description        = "Pipelines that push images."
  assume_role_policy = each.value
}

resource "aws_iam_role_policy" "push" {
  for_each = local.push_trusts

  name   = "push"
  role   = aws_iam_role.push[each.key].name
  policy = local.documents["push-policy"]
}
