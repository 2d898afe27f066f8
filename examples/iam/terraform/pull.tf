# The role of spec.pullRole: tokens that pull, and nothing else.

resource "aws_iam_role" "pull" {
  count = var.pull_role ? 1 : 0

  name               = "ecr-pull"
  description        = "ecr-operator: pull secrets are minted from this role."
  assume_role_policy = local.documents["pull-role-trust-policy"]

  # IAM refuses to trust a role that is not there yet.
  depends_on = [aws_iam_role.operator]
}

resource "aws_iam_role_policy" "pull" {
  count = var.pull_role ? 1 : 0

  name   = "pull-only"
  role   = aws_iam_role.pull[0].name
  policy = local.documents["pull-only-policy"]
}
