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

variable "public_access" {
  type        = bool
  description = "Whether telemetry may be sent and read over the internet, and not only within the network."
  nullable    = false
}

variable "emails" {
  type        = list(string)
  description = "Who is told of alerts."

  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "emails must name somebody, as in ops@example.com: an alert that nobody hears of is none."
  }
}

variable "webhooks" {
  type        = map(string)
  description = "Addresses that are called for each alert, by name, in Azure's common alert schema."
  default     = {}

  validation {
    condition     = alltrue([for url in values(var.webhooks) : startswith(url, "https://")])
    error_message = "webhooks must be https addresses."
  }
}

variable "retention_days" {
  type        = number
  description = "Days for which logs and metrics are kept."

  validation {
    condition     = contains([30, 60, 90, 120, 180, 270, 365, 550, 730], var.retention_days)
    error_message = "retention_days must be 30, 60, 90, 120, 180, 270, 365, 550 or 730, which is what Application Insights takes."
  }
}

variable "daily_gb" {
  type        = number
  description = "GB that may be taken in a day; what is beyond is lost, so that a loop that logs costs no fortune."

  validation {
    condition     = var.daily_gb >= 0.1 && var.daily_gb <= 1000
    error_message = "daily_gb must lie between 0.1 and 1000."
  }
}

variable "always_runs" {
  type        = bool
  description = "Whether there is always a host. Where hosts may be none, their silence is no alert."
  nullable    = false
}

variable "host_ids" {
  type        = list(string)
  description = "The app of hosts; none until images are there."
  nullable    = false
}

variable "replicas_most" {
  type        = number
  description = "How many hosts there may be."
  nullable    = false
}

variable "namespace_id" {
  type        = string
  description = "The namespace of Event Hubs."
  nullable    = false
}

variable "throughput_units_most" {
  type        = number
  description = "How many throughput units there may be."
  nullable    = false
}

variable "vault_id" {
  type        = string
  description = "The vault."
  nullable    = false
}

variable "storage_account_ids" {
  type        = map(string)
  description = "The accounts lake, registry and checkpoints."
  nullable    = false
}

variable "image_registry_id" {
  type        = string
  description = "The registry of images."
  nullable    = false
}

variable "environment_id" {
  type        = string
  description = "Where programs run."
  nullable    = false
}

variable "retrain_action_group_ids" {
  type        = list(string)
  description = "What an alert of drift calls beside people."
  nullable    = false
}
