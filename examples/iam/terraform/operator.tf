# The operator's role: who may assume it, and what it may do.

locals {
  example_provider = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
  is_irsa          = var.oidc_provider != null

  operator_trust = local.is_irsa ? replace(
    local.documents["irsa-trust-policy"], local.example_provider, coalesce(var.oidc_provider, local.example_provider),
  ) : local.documents["pod-identity-trust-policy"]

  operator_policies = merge(
    { operator = local.documents["operator-policy"] },
    var.registry_settings ? { registry-settings = local.documents["registry-settings-policy"] } : {},
    var.prune ? { prune = local.documents["prune-policy"] } : {},
    var.ecr_public ? { ecr-public = local.documents["ecr-public-policy"] } : {},
    var.kms ? { kms = local.documents["kms-policy"] } : {},
    var.pull_role ? { assume-pull-role = local.documents["assume-pull-role-policy"] } : {},
    var.other_account != null ? {
      assume-role = replace(
        local.documents["assume-role-policy"], "222222222222", coalesce(var.other_account, "222222222222"),
      )
    } : {},
  )
}

resource "aws_iam_role" "operator" {
  name               = var.name
  description        = "ecr-operator: makes Amazon ECR match what Git declares."
  assume_role_policy = local.operator_trust
}

resource "aws_iam_policy" "operator" {
  for_each = local.operator_policies

  name   = "${var.name}-${each.key}"
  policy = each.value
}

resource "aws_iam_role_policy_attachment" "operator" {
  for_each = local.operator_policies

  role       = aws_iam_role.operator.name
  policy_arn = aws_iam_policy.operator[each.key].arn
}

resource "aws_eks_pod_identity_association" "operator" {
  count = local.is_irsa ? 0 : 1

  cluster_name    = var.cluster_name
  namespace       = "ecr-operator"
  service_account = "ecr-operator"
  role_arn        = aws_iam_role.operator.arn
}
