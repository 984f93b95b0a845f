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

variable "account_names" {
  type        = map(string)
  description = "Names of the accounts lake, registry and checkpoints."

  validation {
    condition     = alltrue([for kind in ["lake", "registry", "checkpoints"] : can(regex("^[a-z0-9]{3,24}$", var.account_names[kind]))])
    error_message = "account_names must name lake, registry and checkpoints, each with 3 to 24 lowercase letters and digits."
  }
}

variable "public_access" {
  type        = bool
  description = "Whether the accounts are reached from the internet, by identity, and not by private endpoints alone."
  nullable    = false
}

variable "replication" {
  type        = string
  description = "How Azure keeps copies: LRS in one building, ZRS in three of a region, GZRS in another region too."

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.replication)
    error_message = "replication must be LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }
}

variable "deleted_days" {
  type        = number
  description = "Days for which what was deleted can be brought back, in the lake and in the registry."

  validation {
    condition     = var.deleted_days >= 1 && var.deleted_days <= 365
    error_message = "deleted_days must lie between 1 and 365: without it a slip of the hand is final."
  }
}

variable "version_days" {
  type        = number
  description = "Days for which earlier versions of the registry's objects are kept."

  validation {
    condition     = var.version_days >= 7 && var.version_days <= 3650
    error_message = "version_days must lie between 7 and 3650: a mistake in a channel must be found before its past is gone."
  }
}

variable "report_days" {
  type        = number
  description = "Days after which the report of a device that no longer writes one is removed."

  validation {
    condition     = var.report_days >= 7 && var.report_days <= 3650
    error_message = "report_days must lie between 7 and 3650: a device that is away for a week is still part of the fleet."
  }
}

variable "cool_days" {
  type        = number
  description = "Days after which files of the lake move to cheaper storage, which costs more to read."

  validation {
    condition     = var.cool_days >= 1 && var.cool_days <= 3650
    error_message = "cool_days must lie between 1 and 3650: let it be longer than what trainings look back on."
  }
}

variable "capture_days" {
  type        = number
  description = "Days for which Event Hubs' own copy of the events is kept; null where there is none."
  default     = null

  validation {
    condition     = var.capture_days == null ? true : var.capture_days >= 1 && var.capture_days <= 3650
    error_message = "capture_days must lie between 1 and 3650, or be null for no copy."
  }
}
