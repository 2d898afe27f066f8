variable "cluster_name" {
  description = "Name of the EKS cluster, for the association of EKS Pod Identity."
  type        = string
  default     = null
}

variable "name" {
  description = "Name of the operator's role. Trust policies and the chart name it."
  type        = string
  default     = "ecr-operator"
}

variable "oidc_provider" {
  description = "The cluster's OIDC provider without https://, for IRSA. Without it the role is for EKS Pod Identity."
  type        = string
  default     = null
}

variable "registry_settings" {
  description = "Whether an EcrRegistry has spec.settings."
  type        = bool
  default     = false
}

variable "prune" {
  description = "Whether an ImageMirror has spec.prune: the only action that deletes images."
  type        = bool
  default     = false
}

variable "ecr_public" {
  description = "Whether the registries configuration has useIdentity for ECR Public."
  type        = bool
  default     = false
}

variable "kms" {
  description = "Whether repositories are encrypted with keys of your own."
  type        = bool
  default     = false
}

variable "pull_role" {
  description = "Whether there is a role for spec.pullRole, from which pull secrets are minted."
  type        = bool
  default     = true
}

variable "other_account" {
  description = "Another account whose registry the operator keeps, with the role of other-account/."
  type        = string
  default     = null
}

variable "github_repository" {
  description = "Repository of GitHub whose pipelines plan and push, such as example/images."
  type        = string
  default     = null
}

variable "gitlab_project" {
  description = "Project of gitlab.com whose pipelines plan and push, such as example/images."
  type        = string
  default     = null
}
