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
  description = "What names begin with."
  nullable    = false
}

variable "network" {
  type = object({
    network_id = string
    subnet_id  = string
  })
  description = "Network and subnet of the programs; null where there is none, and then the programs are reached from the internet."
  default     = null
}

variable "programs" {
  type = object({
    image_server    = string
    host_image      = string
    trainer_image   = string
    collector_image = string
    trust_root      = string
  })
  description = "What runs: images by their whole names, and the root of trust. Null until the images are in their registry; then there is an environment and nothing in it."
  default     = null
}

variable "identities" {
  type = map(object({
    id           = string
    client_id    = string
    principal_id = string
  }))
  description = "Identities of host, trainer and keeper."

  validation {
    condition     = alltrue([for who in ["host", "trainer", "keeper"] : contains(keys(var.identities), who)])
    error_message = "identities must name host, trainer and keeper: each program has an identity of its own."
  }
}

variable "host_environment" {
  type        = map(string)
  description = "Variables of hosts."
  nullable    = false
}

variable "trainer_environment" {
  type        = map(string)
  description = "Variables of the trainer."
  nullable    = false
}

variable "host" {
  type = object({
    replicas_least = number
    replicas_most  = number
    cpu            = number
    lag_events     = number
  })
  description = "How many hosts there are, how much of a processor each has (and twice as many GiB of memory, a part of which is the collector's), and for how many waiting events there is to be one."

  validation {
    condition     = var.host.replicas_least >= 0 && var.host.replicas_most >= 1 && var.host.replicas_least <= var.host.replicas_most
    error_message = "host.replicas_least must be 0 or more, and not more than host.replicas_most."
  }

  validation {
    condition     = contains([0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75], var.host.cpu)
    error_message = "host.cpu must be a multiple of 0.25 between 0.5 and 3.75: a replica has 4 processors at most, and a quarter of one is the collector's."
  }

  validation {
    condition     = var.host.lag_events >= 1
    error_message = "host.lag_events must be at least 1: there is a host for each so many events that wait."
  }
}

variable "scaler" {
  type = object({
    namespace_name = string
    hub            = string
    group          = string
    account_name   = string
    container      = string
  })
  description = "Where the lag is seen: the hub, and the checkpoints of the group."
  nullable    = false
}

variable "insights_connection_string" {
  type        = string
  description = "Where metrics go. Whoever has it can write telemetry and read none."
  sensitive   = true
  nullable    = false
}

variable "metrics" {
  type        = list(string)
  description = "Metrics of the host that are kept."

  validation {
    condition     = length(var.metrics) > 0 && alltrue([for metric in var.metrics : can(regex("^twinge_[a-z_]+$", metric))])
    error_message = "metrics must be names that a host tells, such as twinge_events_total."
  }
}

variable "retraining" {
  type = object({
    schedule        = string
    config          = string
    key_secret_uri  = string
    timeout_minutes = number
    cpu             = number
  })
  description = "When and how the trainer runs: a cron expression in UTC, the text of detector.toml, the vault's secret with the retrainer's key. Null for no retraining."
  default     = null

  validation {
    condition     = var.retraining == null ? true : can(regex("^([0-9*,/-]+ ){4}[0-9*,/-]+$", var.retraining.schedule))
    error_message = "retraining.schedule must be a cron expression of five parts, such as \"0 3 * * 1\" for Mondays at three."
  }

  validation {
    condition     = var.retraining == null ? true : startswith(var.retraining.key_secret_uri, "https://")
    error_message = "retraining.key_secret_uri must be the address of a secret, such as https://NAME.vault.azure.net/secrets/retrainer-key."
  }

  validation {
    condition     = var.retraining == null ? true : var.retraining.timeout_minutes >= 5 && var.retraining.timeout_minutes <= 1440
    error_message = "retraining.timeout_minutes must lie between 5 and 1440."
  }

  validation {
    condition     = var.retraining == null ? true : contains([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], var.retraining.cpu)
    error_message = "retraining.cpu must be a multiple of 0.5 between 0.5 and 4."
  }
}

variable "lake_keep_days" {
  type        = number
  description = "Days that the lake keeps; whole days go."

  validation {
    condition     = var.lake_keep_days >= 1 && var.lake_keep_days <= 3650
    error_message = "lake_keep_days must lie between 1 and 3650, and be longer than what trainings look back on."
  }
}

variable "resource_group_id" {
  type        = string
  description = "The resource group, from which ids of what templates make are put together."
  nullable    = false
}
