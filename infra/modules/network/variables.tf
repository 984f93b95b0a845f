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

variable "address_space" {
  type        = string
  description = "Addresses of the network."

  validation {
    condition     = can(cidrhost(var.address_space, 0)) && try(tonumber(split("/", var.address_space)[1]), 32) <= 22
    error_message = "address_space must be a block such as 10.60.0.0/16, with /22 or more addresses: programs and private endpoints have a subnet each."
  }
}
