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

variable "public_access" {
  type        = bool
  description = "Whether the vault is reached from the internet, by identity, and not by a private endpoint alone."
  nullable    = false
}

variable "name" {
  type        = string
  description = "Name of the vault, unique in all of Azure."

  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]$", var.name))
    error_message = "name must be 3 to 24 letters, digits and dashes, begin with a letter and not end with a dash."
  }
}

variable "tenant_id" {
  type        = string
  description = "The directory whose identities are known to the vault."
  nullable    = false
}

variable "deleted_days" {
  type        = number
  description = "Days for which a deleted secret can be brought back."

  validation {
    condition     = var.deleted_days >= 7 && var.deleted_days <= 90
    error_message = "deleted_days must lie between 7 and 90, which is what the vault allows."
  }
}
