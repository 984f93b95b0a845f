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

variable "unique_name" {
  type        = string
  description = "What names begin with that must be unique in all of Azure."
  nullable    = false
}

variable "public_access" {
  type        = bool
  description = "Whether devices come from the internet; else they come over networks that are peered."
  nullable    = false
}

variable "environment_id" {
  type        = string
  description = "Where programs run."
  nullable    = false
}

variable "default_domain" {
  type        = string
  description = "What names of programs there end with."
  nullable    = false
}

variable "programs" {
  type = object({
    image_server = string
    host_image   = string
    trust_root   = string
  })
  description = "The host's image and the root of trust; null until they are there."
  default     = null
}

variable "identity" {
  type = object({
    id           = string
    client_id    = string
    principal_id = string
  })
  description = "The identity that may lend delegation keys and whose rights devices get a part of."
  nullable    = false
}

variable "registry_url" {
  type        = string
  description = "The registry that devices get rights on."
  nullable    = false
}

variable "detector" {
  type        = string
  description = "A detector of the registry; a host has to run one."
  nullable    = false
}

variable "channel" {
  type        = string
  description = "Its channel."
  nullable    = false
}

variable "rights_days" {
  type        = number
  description = "Days for which a device may use what it was given."

  validation {
    condition     = var.rights_days > 0 && var.rights_days <= 7
    error_message = "rights_days must be 7 at most: no delegation key lasts longer."
  }
}

variable "iot_hub" {
  type = object({
    units                 = number
    verdicts_hub_id       = string
    verdicts_hub_name     = string
    verdicts_endpoint_uri = string
  })
  description = "IoT Hub as devices' way up, with so many units of S1 (400,000 messages a day each), and where it sends verdicts on to. Null for none."
  default     = null

  validation {
    condition     = var.iot_hub == null ? true : var.iot_hub.units >= 1 && var.iot_hub.units <= 200
    error_message = "iot_hub.units must lie between 1 and 200."
  }
}

variable "operators" {
  type        = map(string)
  description = "People and groups who make devices known to IoT Hub: object ids by a name for each."
  default     = {}

  validation {
    condition     = alltrue([for id in values(var.operators) : can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", id))])
    error_message = "operators must be object ids such as 00000000-0000-0000-0000-000000000000: `az ad signed-in-user show --query id` tells yours."
  }
}
