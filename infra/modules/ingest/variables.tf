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

variable "namespace_name" {
  type        = string
  description = "Name of the namespace, unique in all of Azure."

  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{4,48}[a-zA-Z0-9]$", var.namespace_name))
    error_message = "namespace_name must be 6 to 50 letters, digits and dashes, begin with a letter and not end with a dash."
  }
}

variable "public_access" {
  type        = bool
  description = "Whether the namespace is reached from the internet, by identity, and not by private endpoints alone."
  nullable    = false
}

variable "send_keys" {
  type        = bool
  description = "Whether keys exist beside identities: one that may send events, and one that may send verdicts of devices."
  nullable    = false
}

variable "throughput_units" {
  type = object({
    least = number
    most  = number
  })
  description = "Throughput units: how many there are, and how many auto-inflate may make of them. One takes 1 MB or 1000 events a second."

  validation {
    condition     = var.throughput_units.least >= 1 && var.throughput_units.most <= 40 && var.throughput_units.least <= var.throughput_units.most
    error_message = "throughput_units must lie between 1 and 40, and least must not be more than most."
  }
}

variable "partitions" {
  type        = number
  description = "Partitions of the hubs of events and of verdicts. It cannot be changed later, and no more hosts than this can share the work."

  validation {
    condition     = var.partitions >= 1 && var.partitions <= 32 && floor(var.partitions) == var.partitions
    error_message = "partitions must be a whole number between 1 and 32, which is what the standard tier allows."
  }
}

variable "retention_hours" {
  type        = number
  description = "Hours that the hubs keep what they took: as long as hosts may be away without losing an event."

  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 168
    error_message = "retention_hours must lie between 24 and 168: the standard tier keeps events for seven days at most."
  }
}

variable "capture" {
  type = object({
    storage_account_id = string
    container          = string
  })
  description = "Where Event Hubs itself keeps a copy of every event as Avro, if it is to; the lake holds every event without it. To be decided before the first event: changing it makes the hub of events anew."
  default     = null
}

variable "capture_container_id" {
  type        = string
  description = "The container of the copy, as a scope of roles."
  default     = null

  validation {
    condition     = var.capture == null || var.capture_container_id != null
    error_message = "capture_container_id must be given with capture: the namespace needs a role on the container."
  }
}
