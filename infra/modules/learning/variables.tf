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

variable "resource_group_id" {
  type        = string
  description = "The resource group, from which ids of what templates make are put together."
  nullable    = false
}

variable "account_name" {
  type        = string
  description = "Name of the workspace's account, which holds what MLflow and Azure ML keep."

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.account_name))
    error_message = "account_name must be 3 to 24 lowercase letters and digits."
  }
}

variable "replication" {
  type        = string
  description = "How Azure keeps copies."

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.replication)
    error_message = "replication must be LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }
}

variable "deleted_days" {
  type        = number
  description = "Days for which what was deleted can be brought back."

  validation {
    condition     = var.deleted_days >= 1 && var.deleted_days <= 365
    error_message = "deleted_days must lie between 1 and 365: without it a slip of the hand is final."
  }
}

variable "public_access" {
  type        = bool
  description = "Whether the workspace is reached from the internet, by identity, and not by private endpoints alone."
  nullable    = false
}

variable "vault_id" {
  type        = string
  description = "The vault."
  nullable    = false
}

variable "insights_id" {
  type        = string
  description = "Application Insights."
  nullable    = false
}

variable "image_registry_id" {
  type        = string
  description = "The registry of images."
  nullable    = false
}

variable "online_endpoint" {
  type = object({
    image         = string
    instance_type = string
    instances     = number
    identity_id   = string
    variables     = map(string)
  })
  description = "The model endpoint (docs/model-endpoint.md) as a managed online endpoint: an image of the host that has the root of trust in it, what it runs on, and its variables. Null for none."
  default     = null

  validation {
    condition     = var.online_endpoint == null ? true : var.online_endpoint.instances >= 1 && var.online_endpoint.instances <= 20
    error_message = "online_endpoint.instances must lie between 1 and 20."
  }

  validation {
    condition     = var.online_endpoint == null ? true : startswith(var.online_endpoint.instance_type, "Standard_")
    error_message = "online_endpoint.instance_type must be a machine such as Standard_F2s_v2."
  }
}
