variable "name" {
  type        = string
  description = "What all names begin with, as in the environments."
  default     = "twinge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.name))
    error_message = "name must be 2 to 10 lowercase letters and digits and begin with a letter: the storage account, which carries it, allows no more."
  }
}

variable "location" {
  type        = string
  description = "The region of the states."
  default     = "westeurope"

  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location must be a region's short name such as westeurope, without spaces and capitals."
  }
}

variable "allowed_addresses" {
  type        = list(string)
  description = "Public addresses from which states are read and written. Empty for all: who comes needs an identity all the same, and runners of GitHub have no fixed address."
  default     = []

  validation {
    condition     = alltrue([for address in var.allowed_addresses : can(regex("^[0-9]{1,3}(\\.[0-9]{1,3}){3}(/([0-9]|[12][0-9]|30))?$", address))])
    error_message = "allowed_addresses must be public IPv4 addresses or blocks up to /30, such as 198.51.100.0/24."
  }
}

variable "github_repository" {
  type        = string
  description = "The repository whose workflows deploy, as OWNER/NAME; null for none."
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "github_repository must be OWNER/NAME, as in its address."
  }
}

variable "environments" {
  type        = set(string)
  description = "Environments that workflows deploy, as the folders below infra/envs are called. The workflows run as infrastructure-NAME-plan and infrastructure-NAME, which are environments of the repository."
  default     = ["dev", "prod"]

  validation {
    condition     = length(var.environments) > 0 && alltrue([for environment in var.environments : can(regex("^[a-z][a-z0-9]*$", environment))])
    error_message = "environments must be names of folders below infra/envs, such as dev."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of every resource."
  default     = {}

  validation {
    condition     = length(var.tags) <= 40
    error_message = "tags may be 40 at most: Azure allows 50 on a resource, and some are added here."
  }
}
