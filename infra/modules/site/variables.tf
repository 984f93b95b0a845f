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
  description = "Whether anybody can look at the page. Without it the page is reached by a private endpoint alone."
  nullable    = false
}

variable "account_name" {
  type        = string
  description = "Name of the page's account."

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.account_name))
    error_message = "account_name must be 3 to 24 lowercase letters and digits."
  }
}

variable "replication" {
  type        = string
  description = "How Azure keeps copies of the page's files."

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.replication)
    error_message = "replication must be LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }
}
