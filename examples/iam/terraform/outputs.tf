output "role_arn" {
  description = "The operator's role. For IRSA it goes into the chart's serviceAccount.annotations."
  value       = aws_iam_role.operator.arn
}

output "pull_role_arn" {
  description = "For spec.pullRole.roleArn of the EcrRegistry."
  value       = one(aws_iam_role.pull[*].arn)
}
