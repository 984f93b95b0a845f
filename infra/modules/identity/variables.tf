variable "resource_group_name" {
  type        = string
  description = "The resource group."
  nullable    = false
}

variable "location" {
  type        = string
  description = "The region."
  nullable    = false
}

variable "tags" {
  type        = map(string)
  description = "Tags of every resource."
  nullable    = false
}

variable "base_name" {
  type        = string
  description = "What the identities' names begin with."
  nullable    = false
}

variable "hub_ids" {
  type        = map(string)
  description = "The hubs events, verdicts, dead-letters and alerts."

  validation {
    condition     = alltrue([for hub in ["events", "verdicts", "dead-letters", "alerts"] : contains(keys(var.hub_ids), hub)])
    error_message = "hub_ids must name events, verdicts, dead-letters and alerts: each has roles of its own."
  }
}

variable "container_ids" {
  type        = map(string)
  description = "The containers lake, registry and checkpoints."

  validation {
    condition     = alltrue([for container in ["lake", "registry", "checkpoints"] : contains(keys(var.container_ids), container)])
    error_message = "container_ids must name lake, registry and checkpoints: each has roles of its own."
  }
}

variable "registry_account_id" {
  type        = string
  description = "The account of the registry: the right to lend delegation keys is for an account as a whole."
  nullable    = false
}

variable "image_registry_id" {
  type        = string
  description = "The registry of images."
  nullable    = false
}

variable "vault_id" {
  type        = string
  description = "The vault."
  nullable    = false
}

variable "retrainer_key_secret" {
  type        = string
  description = "Name of the vault's secret that holds the retrainer's key."
  default     = "twinge-retrainer-key"

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,127}$", var.retrainer_key_secret))
    error_message = "retrainer_key_secret must be 1 to 127 letters, digits and dashes, as the vault's names are."
  }
}

variable "retrains" {
  type        = bool
  description = "Whether the trainer's job runs, which reads the retrainer's key."
  default     = false
  nullable    = false
}

variable "site_container_id" {
  type        = string
  description = "The container of the page; null where there is no page."
  default     = null
}

variable "has_site" {
  type        = bool
  description = "Whether there is a page."
  default     = false

  validation {
    condition     = !var.has_site || var.site_container_id != null
    error_message = "site_container_id must be given with has_site: operators put the page's files there."
  }
}

variable "has_online_endpoint" {
  type        = bool
  description = "Whether the model endpoint runs, with an identity of its own."
  default     = false
  nullable    = false
}

variable "github_repository" {
  type        = string
  description = "The repository whose workflows push images and take models on, as OWNER/NAME; null for none."
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "github_repository must be OWNER/NAME, as in its address."
  }
}

variable "promoter_key_secret" {
  type        = string
  description = "Name of the vault's secret that holds the promoter's key, for workflows."
  default     = "twinge-promoter-key"

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,127}$", var.promoter_key_secret))
    error_message = "promoter_key_secret must be 1 to 127 letters, digits and dashes, as the vault's names are."
  }
}

variable "operators" {
  type        = map(string)
  description = "People and groups who operate this, by a name for each: object ids. They send test events, read verdicts, label them, publish modules, push images and put the two signing keys into the vault."
  default     = {}

  validation {
    condition     = alltrue([for id in values(var.operators) : can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", id))])
    error_message = "operators must be object ids such as 00000000-0000-0000-0000-000000000000: `az ad signed-in-user show --query id` tells yours."
  }
}
