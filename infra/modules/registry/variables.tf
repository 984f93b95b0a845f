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
  description = "Whether the registry is reached from the internet, by identity. Without it the tier is Premium, the only one with private endpoints."
  nullable    = false
}

variable "name" {
  type        = string
  description = "Name of the registry, unique in all of Azure."

  validation {
    condition     = can(regex("^[a-z0-9]{5,50}$", var.name))
    error_message = "name must be 5 to 50 lowercase letters and digits."
  }
}

variable "untagged_days" {
  type        = number
  description = "Days after which images without a tag are removed, where the tier can do that (Premium)."
  default     = 14

  validation {
    condition     = var.untagged_days >= 1 && var.untagged_days <= 365
    error_message = "untagged_days must lie between 1 and 365: a deployment that goes back needs the image of before."
  }
}
