# In the other account: a role with the operator's policy, which the operator's own role may assume.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

variable "operator_account" {
  description = "The account of the operator's own role."
  type        = string
}

variable "name" {
  description = "Name of the role, here and there."
  type        = string
  default     = "ecr-operator"
}

variable "external_id" {
  description = "credentials.assumeRole.externalId of the EcrRegistry."
  type        = string
  default     = "cluster-prod"
}

data "aws_partition" "current" {}

locals {
  folder = "${path.module}/../../../../docs/iam"

  documents = {
    for name in ["operator-policy", "cross-account-trust-policy"] :
    name => replace(
      replace(
        replace(file("${local.folder}/${name}.json"), "arn:aws:", "arn:${data.aws_partition.current.partition}:"),
        "123456789012:role/ecr-operator", "${var.operator_account}:role/${var.name}",
      ),
      "cluster-prod", var.external_id,
    )
  }
}

resource "aws_iam_role" "operator" {
  name               = var.name
  description        = "ecr-operator of account ${var.operator_account}."
  assume_role_policy = local.documents["cross-account-trust-policy"]
}

resource "aws_iam_role_policy" "operator" {
  name   = "operator"
  role   = aws_iam_role.operator.name
  policy = local.documents["operator-policy"]
}

output "role_arn" {
  description = "For credentials.assumeRole.roleArn of the EcrRegistry."
  value       = aws_iam_role.operator.arn
}
