# The policies are those of docs/iam, with your account, partition and names in the place of those in the files.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  folder    = "${path.module}/../../../docs/iam"

  documents = {
    for name in fileset(local.folder, "*.json") :
    trimsuffix(name, ".json") => replace(
      replace(
        replace(file("${local.folder}/${name}"), "arn:aws:", "arn:${local.partition}:"),
        "123456789012", local.account,
      ),
      ":role/ecr-operator", ":role/${var.name}",
    )
  }
}
